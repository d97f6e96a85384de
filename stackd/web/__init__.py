"""HTTP of the manager: health, metrics, webhooks and the JSON API."""
