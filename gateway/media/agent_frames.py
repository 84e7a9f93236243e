# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers have said, on its way to the agents: at once, or by way of the rings of those that are behind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_GAP
from trunkline.agent_bridge.wire import AudioMessage
from trunkline.gateway.media.agent_link import AgentLink
from trunkline.gateway.media.batch import alike
from trunkline.gateway.media.gathering import parted
from trunkline.gateway.media.replay import Replay
from trunkline.gateway.media.table import Table
from trunkline.rtp.outcomes import Drop

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]


class AgentFrames:
    """Frames of all rows to the connections that they are on; implements `uplink.FrameSink`."""

    def __init__(
        self, table: Table, links: Mapping[int, AgentLink], index_of_row: NDArray[np.int64], replay: Replay,
        said: dict[AgentLink, None],
    ) -> None:  # fmt: skip
        """`index_of_row` names the connection of each row in `links`, -1 for none; its owner changes both.

        Connections that have got a message are put into `said`.
        """
        self._table, self._links, self.index_of_row, self._replay = table, links, index_of_row, replay
        self._said = said

    def deliver(self, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm) -> None:
        """Frames of one length, one for each row, to the connections of their rows."""
        if self._replay.rows:
            self._replay.keep(rows, positions, flags, pcm)
            if self._replay.waiting:
                behind = self._replay.behind[rows]
                self._replay.go_back(rows[behind], positions[behind])
                live = ~behind
                rows, positions, flags, pcm = rows[live], positions[live], flags[live], pcm[live]
                if not len(rows):
                    return
        self.send(rows, positions, flags, pcm)

    def message(self, rows: Rows, samples: int) -> AudioMessage | None:
        """Room for a frame of each row, live and of one agent that takes ready records; None: `deliver` them.

        What is written there is kept in the rows' rings, as if it had been delivered; no row may be behind.
        """
        indices = self.index_of_row[rows]
        return self.message_to(int(indices[0]), len(rows), samples) if alike(indices) else None

    def message_to(self, index: int, count: int, samples: int) -> AudioMessage | None:
        """The same for so many rows, all of this connection."""
        link = self._links.get(index)
        if link is None or not (link.at_rest or link.backlog_bytes <= link.limit_bytes):
            return None
        message = link.protocol.audio_message(count, samples)
        if message is not None:
            self._said[link] = None
            if self._replay.rows:
                message.then += (self._keep,)
        return message

    def _keep(self, records: NDArray[np.void]) -> None:
        rows = self._table.rows_of(records["channel"])
        self._replay.keep(rows, records["position"].astype(np.int64), records["flags"], records["pcm"])

    def send(self, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm) -> None:
        """To the connections of these rows, live or out of a ring."""
        indices = self.index_of_row[rows]
        first = int(indices[0])
        if (indices == first).all():  # one agent: no need to part anything
            self._deliver_to(first, rows, positions, flags, pcm)
            return
        rest = self._deliver_apart(indices.tolist(), rows, positions, flags, pcm)
        if rest is not None:
            indices, rows, positions, flags, pcm = indices[rest], rows[rest], positions[rest], flags[rest], pcm[rest]
            for index, same in parted(indices):
                self._deliver_to(index, rows[same], positions[same], flags[same], pcm[same])

    def _deliver_apart(
        self, indices: list[int], rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm
    ) -> NDArray[np.intp] | None:
        """To connections of one call each that have room; returns the places of all other frames, if any."""
        channels, rest = self._table.channels[rows].tolist(), []
        frames = zip(indices, channels, positions.tolist(), flags.tolist(), pcm, strict=True)
        for place, (index, channel, position, flag, frame) in enumerate(frames):
            link = self._links.get(index)
            if link is not None and link.one_call and (link.at_rest or link.backlog_bytes <= link.limit_bytes):
                link.speak().send_frame(channel, position, flag, frame)
            else:
                rest.append(place)
        others = np.array(rest, np.intp) if rest else None
        told = rows if others is None else np.delete(rows, others)
        self._table.shared.frames_to_agent[told] += 1
        self._table.shared.worker.frames_to_agent[0] += len(told)
        return others

    def _deliver_to(
        self, index: int, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm
    ) -> None:
        link = self._links.get(index)
        if link is None:
            return
        if link.backlog_bytes > link.limit_bytes:
            self._hold_frames(rows, positions)
            return
        self._table.shared.frames_to_agent[rows] += 1
        self._table.shared.worker.frames_to_agent[0] += len(rows)
        link.speak().send_audio(self._table.channels[rows], positions, flags, pcm)

    def _hold_frames(self, rows: Rows, positions: NDArray[np.int64]) -> None:
        """The agent does not read: its calls' frames wait in their rings, of which the oldest give way.

        A call without a ring loses the newest: what waits already is in messages with other calls' frames.
        """
        kept = self._replay.hold(rows, positions)
        rows, c = rows[~kept], self._table.shared
        if not len(rows):
            return
        c.up_flags[rows] |= FLAG_GAP
        self._table.flagged = True
        c.drops[rows, Drop.AGENT_SLOW] += 1
        c.worker.drops[Drop.AGENT_SLOW] += len(rows)

    def able(self, rows: Rows) -> NDArray[np.bool_]:
        """Of calls that are behind: which have an agent that takes more now."""
        able = np.zeros(len(rows), bool)
        for i, row in enumerate(rows.tolist()):
            stream = self._table.streams[row]
            link = stream.link if stream is not None and stream.accepted else None
            able[i] = link is not None and link.backlog_bytes <= link.limit_bytes // 2
        return able
