"""Run a program that ends when its parent ends, whatever ends the parent.

Executed as a script of its own, ``python parent_death.py PARENT_PID PROGRAM ARGUMENT…``. It asks Linux for a SIGTERM at
the parent's death (``PR_SET_PDEATHSIG`` of prctl(2)), then becomes the program. It is a script because ``subprocess``'s
``preexec_fn`` may deadlock where threads run. To the kernel the *thread* that started the child is its parent, so start
it from a thread that lives as long as the process.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_NOT_EXECUTED = 127  # as shells say it


def main() -> None:
    """Become the program named on the command line, or exit 127 with the reason on standard error."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the request
        sys.exit(_NOT_EXECUTED)
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{program[0]}: {error.strerror}\n")
        sys.exit(_NOT_EXECUTED)


if __name__ == "__main__":
    main()
