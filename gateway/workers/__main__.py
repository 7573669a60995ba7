"""``python -m gateway.workers CHANNEL SUPERVISOR``: a worker, started by the supervisor."""

import socket
import sys

from gateway.workers.worker import do_job

if __name__ == "__main__":
    do_job(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
