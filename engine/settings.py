"""The engine's few settings, from the environment, `.env` or `var/tokens.env`."""

import os
from pathlib import Path


def setting(name: str, default: str) -> str:
    if name in os.environ:
        return os.environ[name]
    for path in (Path(".env"), Path("var/tokens.env")):
        if path.exists():
            for line in path.read_text().splitlines():
                key, separator, value = line.partition("=")
                if separator and key.strip() == name:
                    return value.strip().strip("'\"")
    return default
