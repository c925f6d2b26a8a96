"""`make run`: train if need be, start the three processes, watch over them, and end them all together."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.stack import NAMES, ROOT, Ports, Stack, StackError
from tools.train import train

MOST_DEATHS = 5
"""A process that dies so often within a minute is not started again."""


def main() -> None:
    os.chdir(ROOT)
    os.umask(0o077)  # databases, logs and mails are their owner's alone
    from dotenv import load_dotenv

    load_dotenv(ROOT / ".env")
    ports = Ports(
        int(os.environ.get("PORT", 8000)),
        int(os.environ.get("ENGINE_PORT", 5005)),
        int(os.environ.get("ACTIONS_PORT", 5055)),
    )
    from personvern.settings import make_tokens

    make_tokens()
    tokens = dict(line.split("=", 1) for line in Path("var/tokens.env").read_text().splitlines() if "=" in line)
    stack = Stack(ROOT / "var", ports, {**tokens, **{name: os.environ[name] for name in _GIVEN if name in os.environ}})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        stack.check_ports()
        train()
        print("  starting engine, actions and app", flush=True)
        stack.start_all()
        seconds = stack.wait()
        print(f"  all three answer after {seconds:.0f} s", flush=True)
        print(f"\n  Chat here: {stack.url}\n  Logs: {ROOT / 'var'}   Stop: Ctrl-C\n", flush=True)
        watch(stack)
    except StackError as error:
        stack.stop()
        sys.exit(f"\n{error}\n")
    except KeyboardInterrupt:
        print("\n  stopping", flush=True)
    finally:
        stack.stop()


_GIVEN = ("DATABASE_URL", "ENGINE_DATABASE_URL", "REDIS_URL", "ENGINE_TOKEN", "ACTIONS_TOKEN", "HOST")


def watch(stack: Stack) -> None:
    deaths: dict[str, list[float]] = {name: [] for name in NAMES}
    while True:
        time.sleep(0.3)
        for name in stack.died():
            deaths[name] = [moment for moment in deaths[name] if time.monotonic() - moment < 60] + [time.monotonic()]
            print(f"  {stack.obituary(name)}", flush=True)
            if len(deaths[name]) >= MOST_DEATHS:
                raise StackError(f"The {name} process died {MOST_DEATHS} times within a minute; giving up.")
            print(f"  starting the {name} process again", flush=True)
            stack.start(name)


if __name__ == "__main__":
    main()
