"""`python -m actions`: the action server, on loopback, one process, with a bearer token."""

import hmac
import logging
import sys
import warnings
from urllib.parse import urlsplit

from rasa_sdk.endpoint import create_app
from rasa_sdk.executor import ActionExecutor
from sanic import Request
from sanic.response import HTTPResponse, json

from actions.turn import database, library, settings


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("rasa_sdk.executor").setLevel(logging.WARNING)
    # The engine is the last Rasa Open Source there is; the protocol is the same.
    warnings.filterwarnings("ignore", message=".*Your versions of.*")
    given = settings()
    if not given.actions_token:
        sys.exit("ACTIONS_TOKEN is not set. `make run` makes one; by hand: python -m personvern.settings")
    executor = ActionExecutor()
    executor.register_package("actions")
    app = create_app(executor, cors_origins=[])
    app.config.ACCESS_LOG = False
    app.config.REQUEST_MAX_SIZE = 1_000_000
    expected = f"Bearer {given.actions_token}".encode()

    @app.on_request
    async def only_the_engine(request: Request) -> HTTPResponse | None:
        if request.path == "/health" or hmac.compare_digest(
            request.headers.get("authorization", "").encode(), expected
        ):
            return None
        return json({"error": "unauthorised"}, status=401)

    database(), library()
    address = urlsplit(given.actions_url)
    app.run(
        host=address.hostname or "127.0.0.1",
        port=address.port or 5055,
        single_process=True,
        access_log=False,
        motd=False,
    )


if __name__ == "__main__":
    main()
