"""Images and registries: load, pull, list, inspect, remove; login, list, logout."""

from pathlib import Path

import msgspec

from stackd.core.model.api import (
    ImageRequest,
    ImageRow,
    ImageRows,
    LoginRequest,
    NameRequest,
    RegistryRows,
    Text,
)
from stackd.manager.registries import Registries, TryLogin
from stackd.registry.service import ImageInfo, ImageService
from stackd.wire.control import Caller


class ImageApi:
    """Handlers about images."""

    def __init__(self, images: ImageService) -> None:
        self._images = images

    async def load(self, request: ImageRequest, caller: Caller) -> ImageRows:
        """Take in an archive on this machine."""
        loaded = await self._images.load(Path(request.path), request.name)
        return ImageRows(images=tuple(map(_row, loaded)))

    async def pull(self, request: ImageRequest, caller: Caller) -> ImageRows:
        """Fetch an image from its registry."""
        return ImageRows(images=(_row(await self._images.pull(request.name)),))

    async def list(self, request: ImageRequest, caller: Caller) -> ImageRows:
        """Every name kept here."""
        return ImageRows(images=tuple(map(_row, self._images.ls())))

    async def inspect(self, request: ImageRequest, caller: Caller) -> Text:
        """One image, as a JSON document."""
        info = self._images.inspect(request.name)
        return Text(text=msgspec.json.format(msgspec.json.encode(info), indent=2).decode())

    async def remove(self, request: ImageRequest, caller: Caller) -> Text:
        """Forget a name and what only it needed."""
        freed = await self._images.rm(request.name)
        return Text(text=f"Removed {request.name}: {freed / 1e6:.1f} MB freed.")


def _row(info: ImageInfo) -> ImageRow:
    return ImageRow(name=info.name, digest=info.digest, size=info.size)


class RegistryApi:
    """Handlers about registries."""

    def __init__(self, registries: Registries, try_login: TryLogin) -> None:
        self._registries = registries
        self._try_login = try_login

    async def login(self, request: LoginRequest, caller: Caller) -> Text:
        """Keep credentials that the registry takes."""
        return await self._registries.login(request, caller.principal, self._try_login)

    async def list(self, request: NameRequest, caller: Caller) -> RegistryRows:
        """Registries with kept credentials."""
        return self._registries.ls()

    async def logout(self, request: NameRequest, caller: Caller) -> Text:
        """Forget credentials."""
        return await self._registries.logout(request.name)
