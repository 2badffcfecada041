#!/usr/bin/env python3
"""A slow, lossy cable between two network cards, for kernels without netem.

    lab-wire.py CARD CARD DELAY_MS JITTER_MS LOSS_PERCENT KBIT

Frames that arrive on one card leave by the other after the delay, in order, each direction by
itself. KBIT 0 is no limit; with one, frames that would wait longer than QUEUE_S are lost, but never
the only one of its connection: routers of today queue fairly (RFC 8290), and without it one of
several connections may be starved for half a minute by chance. It says "ready" when it listens and
ends by a signal.
"""

import collections
import heapq
import random
import select
import socket
import sys
import time

QUEUE_S = 2.0
EVERY_PROTOCOL = 3  # ETH_P_ALL
OUTGOING = 4  # PACKET_OUTGOING: what we sent ourselves
LONGEST_FRAME = 65_535
AT_ONCE = 64  # frames taken from one card before the other has its turn


def open_card(name: str) -> socket.socket:
    card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    card.bind((name, 0))
    card.setblocking(False)
    return card


class Direction:
    """When the frames of one direction are due."""

    def __init__(self, delay_ms: float, jitter_ms: float, loss_percent: float, kbit: float):
        self.delay_s, self.jitter_s = delay_ms / 1000, jitter_ms / 1000
        self.loss = loss_percent / 100
        self.bits_per_s = kbit * 1000
        self.sent_at = 0.0
        self.last_due = 0.0
        self.waiting: collections.Counter[bytes] = collections.Counter()  # frames by connection

    def due(self, frame: bytes, now: float) -> float | None:
        """The time at which `frame` leaves, or None when it is lost."""
        if random.random() < self.loss:
            return None
        sent_at = now
        if self.bits_per_s:
            sent_at = max(now, self.sent_at) + len(frame) * 8 / self.bits_per_s
            if sent_at - now > QUEUE_S and self.waiting[connection(frame)] > 0:
                return None
            self.sent_at = sent_at
        self.waiting[connection(frame)] += 1
        wait = max(0.0, self.delay_s + random.uniform(-self.jitter_s, self.jitter_s))
        self.last_due = max(self.last_due, sent_at + wait)
        return self.last_due

    def left(self, frame: bytes) -> None:
        key = connection(frame)
        self.waiting[key] -= 1
        if self.waiting[key] <= 0:
            del self.waiting[key]


def connection(frame: bytes) -> bytes:
    """What the frames of one connection have in common: addresses and ports, or the protocol."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        return frame[26:38]
    if kind == b"\x86\xdd":
        return frame[22:58]
    return kind


def frames(card: socket.socket):
    for _ in range(AT_ONCE):
        try:
            frame, sender = card.recvfrom(LONGEST_FRAME)
        except OSError:  # nothing more, or the card is unplugged
            return
        if sender[2] != OUTGOING:
            yield frame


def carry(cards: list[socket.socket], directions: list[Direction]) -> None:
    queue: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        for card in select.select(cards, [], [], wait)[0]:
            side = cards.index(card)
            for frame in frames(card):
                due = directions[side].due(frame, time.monotonic())
                if due is not None:
                    count += 1
                    heapq.heappush(queue, (due, count, 1 - side, frame))
        while queue and queue[0][0] <= time.monotonic():
            _, _, side, frame = heapq.heappop(queue)
            directions[1 - side].left(frame)
            try:
                cards[side].send(frame)
            except OSError:  # unplugged, or its queue is full: a cable loses frames
                pass


def main() -> None:
    cards = [open_card(name) for name in sys.argv[1:3]]
    shape = [float(value) for value in sys.argv[3:7]]
    print("ready", flush=True)
    carry(cards, [Direction(*shape), Direction(*shape)])


main()
