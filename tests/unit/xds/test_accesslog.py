"""Entries of the access log as requests."""

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2

from stackd.core.model.requests import Request
from stackd.core.model.variants import UserGoal
from stackd.xds.accesslog import AccessLog
from tests.unit.xds.render.test_table import endpoint, entry

Headers = dict[str, dict[str, str]]
CLUSTER = "shop/web/8080/http/r1"


def read(
    code: int,
    *flags: str,
    cluster: str = CLUSTER,
    response: Headers | None = None,
    address: str = "10.0.0.1",
) -> Request:
    found = maybe(code, *flags, cluster=cluster, response=response, address=address)
    assert found is not None
    return found


def maybe(
    code: int,
    *flags: str,
    cluster: str,
    response: Headers | None = None,
    address: str = "10.0.0.1",
) -> Request | None:
    line = accesslog_pb2.HTTPAccessLogEntry(
        common_properties={
            "upstream_cluster": cluster,
            "upstream_remote_address": {"socket_address": {"address": address, "port_value": 8080}},
            "start_time": {"seconds": 100, "nanos": 500_000_000},
            "duration": {"nanos": 20_000_000},
            "response_flags": dict.fromkeys(flags, True),
        },
        response={"response_code": {"value": code}, **(response or {})},
    )
    log = AccessLog(lambda request: None)
    log.entries([entry(endpoint(1), measured=True)])
    return log.read(line)


def test_revision_task_and_times() -> None:
    found = read(200)
    assert (found.stack, found.service, found.revision) == ("shop", "web", "r1")
    assert (found.instance, found.began, found.seconds) == ("t1", 100.5, 0.02)
    assert not found.failed
    assert not found.shadow
    assert read(200, cluster="shop/web/8080/http/r1/shadow").shadow
    assert read(200, address="10.0.0.9").instance == "10.0.0.9"


@pytest.mark.parametrize(
    ("code", "flag"),
    [
        (500, ""),
        (599, ""),
        (0, ""),
        (504, "upstream_request_timeout"),
        (200, "upstream_connection_termination"),
        (200, "upstream_remote_reset"),
        (503, "no_healthy_upstream"),
    ],
)
def test_server_errors_timeouts_and_resets_are_failures(code: int, flag: str) -> None:
    assert read(code, *([flag] if flag else [])).failed


@pytest.mark.parametrize(
    ("code", "turned"),
    [(200, False), (204, False), (301, True), (304, False), (403, True), (499, True), (500, False)],
)
def test_other_classes_than_success_are_told_apart(code: int, turned: bool) -> None:
    assert read(code).turned is turned


@pytest.mark.parametrize("code", [200, 204, 301, 404, 499])
def test_other_answers_are_not(code: int) -> None:
    assert not read(code).failed


@pytest.mark.parametrize(
    ("request_", "code", "reached"),
    [
        ({"request_method": "POST", "path": "/order?a=1"}, 201, True),
        ({"request_method": "POST", "path": "/rewritten", "original_path": "/order"}, 201, True),
        ({"request_method": "GET", "path": "/order"}, 200, False),
        ({"request_method": "POST", "path": "/order"}, 500, False),
        ({"request_method": "POST", "path": "/other"}, 200, False),
    ],
)
def test_variants_and_their_goal(request_: dict[str, str], code: int, reached: bool) -> None:
    goal = UserGoal(path="/order", method="POST")
    log = AccessLog(lambda request: None)
    log.entries([entry(endpoint(1), counted=True, goal=goal)])
    line = accesslog_pb2.HTTPAccessLogEntry(
        common_properties={"upstream_cluster": CLUSTER},
        request=request_,
        response={"response_code": {"value": code}},
    )
    found = log.read(line)
    assert found is not None
    assert (found.counted, found.judged, found.goal) == (True, False, "POST /order 2xx")
    assert found.reached is reached
    line.common_properties.response_flags.upstream_remote_reset = True
    broken = log.read(line)
    assert broken is not None
    assert not broken.reached
    log.entries([entry(endpoint(1), measured=True)])
    judged = log.read(line)
    assert judged is not None
    assert (judged.counted, judged.judged, judged.reached) == (False, True, False)


@pytest.mark.parametrize("where", ["response_headers", "response_trailers"])
def test_a_grpc_servers_fault_is_a_failure_an_answer_of_its_own_is_not(where: str) -> None:
    assert read(200, response={where: {"grpc-status": "14"}}).failed
    assert not read(200, response={where: {"grpc-status": "5"}}).failed
    assert not read(200, response={where: {"grpc-status": "0"}}).failed


@pytest.mark.parametrize(
    ("code", "flags", "cluster"),
    [
        (0, ("downstream_connection_termination",), "shop/web/8080/http/r1"),
        (0, ("downstream_remote_reset",), "shop/web/8080/http/r1"),
        (101, (), "shop/web/8080/http/r1"),
        (404, (), ""),
        (200, (), "shop/other/8080/http/r1"),
        (200, (), "shop/web/5432/tcp"),
    ],
)
def test_what_says_nothing_of_a_revision(code: int, flags: tuple[str, ...], cluster: str) -> None:
    assert maybe(code, *flags, cluster=cluster) is None
