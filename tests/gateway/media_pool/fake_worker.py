# SPDX-License-Identifier: GPL-2.0-or-later
"""A media worker without media: speaks the control protocol, and misbehaves on request.

Digits tell it what to do: `D` die, `C` hang, others are reported back with what it holds of the call.
A stop for the reason `silent` is not answered; `--mode stillborn` ends before it is ready.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import time

from trunkline.gateway.media import channel, control
from trunkline.gateway.media.columns import Columns


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--control-fd", type=int)
    parser.add_argument("--table-fd", type=int)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--index", type=int)
    parser.add_argument("--mode", default="")
    parser.add_argument("--spare", action="store_true")
    options = parser.parse_args()
    sock = socket.socket(fileno=options.control_fd)
    if options.spare:
        data, fds = channel.receive(sock)
        if not data:
            return
        adopt = control.decode_to_worker(data)
        assert isinstance(adopt, control.Adopt), adopt
        options.index, options.capacity, options.table_fd = adopt.index, adopt.capacity, fds[0]
    columns = Columns(options.capacity, options.table_fd)
    columns.worker.pid[0] = os.getpid()
    columns.worker.heartbeat_ns[0] = time.monotonic_ns()
    print(f"fake worker {options.index} says hello")
    if options.mode == "stillborn":
        sys.exit(3)
    channel.send(sock, control.encode(control.WorkerReady(os.getpid())))
    taken: dict[str, tuple[int, list[int]]] = {}
    while True:
        select.select([sock], [], [], 0.2)
        columns.worker.heartbeat_ns[0] = time.monotonic_ns()
        try:
            data, fds = channel.receive(sock)
        except BlockingIOError:
            continue
        if not data:
            return
        message = control.decode_to_worker(data)
        for answer in react(message, fds, columns, taken):
            channel.send(sock, control.encode(answer))
        if isinstance(message, control.Drain):
            return


def react(
    message: control.Message, fds: list[int], columns: Columns, taken: dict[str, tuple[int, list[int]]]
) -> list[control.Message]:
    """Answers to one message."""
    if isinstance(message, control.StartStream):
        call_id = message.info.call_id
        slot = message.slot
        if slot < 0:
            slot = next(i for i in range(columns.capacity) if i not in {used for used, _ in taken.values()})
            columns.generation[slot] += 1
            if message.state:
                columns.restore_row(slot, message.state)
        taken[call_id] = (slot, fds)
        columns.packets_received[slot] += 1
        return [control.StreamReady(call_id, slot, int(columns.generation[slot]), 1.5)]
    if isinstance(message, control.SendDtmf):
        if message.digits == "D":
            os._exit(9)
        if message.digits == "C":
            time.sleep(60)
        slot, held = taken[message.call_id]
        data: dict[str, str | int | float] = {"slot": slot, "digits": message.digits, "fds": len(held)}
        data["port"] = socket.socket(fileno=os.dup(held[0])).getsockname()[1]
        return [control.AgentEvent(message.call_id, "echo", data)]
    if isinstance(message, control.UpdateStream):
        return [control.AgentEvent(message.call_id, "updated", {"codec": message.media.codec})]
    if isinstance(message, control.StopStream) and message.reason != "silent":
        return [control.StreamEnded(message.call_id, {"packets_received": 7.0})]
    return []


if __name__ == "__main__":
    main()
