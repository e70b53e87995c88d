"""The room of a shop in memory: sockets, what is said, what is told; and the promises of these that it may break."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

from tests.load.gateways import GUID, frame, read_frame

# The message that a lie is about.
_FATEFUL = 3


class LyingRoom:
    """``lie`` names the promise to break, empty is an honest room. Who is ``known`` may come in."""

    def __init__(self, lie: str = "") -> None:
        self.lie = lie
        self.known: set[str] = set()
        self.guests: set[str] = set()
        self.open: dict[str, asyncio.StreamWriter] = {}
        self.seq = 0
        self.kept_back: dict[str, dict[str, Any]] = {}
        self.said: list[dict[str, Any]] = []
        self.stored: dict[str, int] = {}
        self.away: set[str] = set()

    # --- what is said -------------------------------------------------------------------------------------------------

    def say(self, sender: str, said: dict[str, Any]) -> int:
        """To everybody else, once; the message's sequence number."""
        if said["id"] in self.stored:
            return self.stored[said["id"]]
        self.seq += 2 if self.lie == "numbers-with-gaps" else 1
        heard = {**said, "seq": self.seq, "senderId": sender, "timestamp": 0}
        self.stored[said["id"]] = self.seq
        self.said.append(heard)
        for number, guest in enumerate(sorted(self.open.keys() - {sender})):
            self._deliver(guest, heard, lied_to=number == 0 and self.seq // 2 == _FATEFUL // 2)
        if self.seq == _FATEFUL:
            self._fate()
        return self.seq

    def _fate(self) -> None:
        """Sockets end: one that may not come back, one that misses the next message, or all of them with 1012."""
        unlucky = min(self.open, default="")
        if self.lie in ("drops-sockets", "forgets-who-was-away", "recovers-nothing", "cuts-a-socket"):
            self.away.add(unlucky)
            self.open.pop(unlucky).transport.abort()
        if self.lie == "drops-sockets":
            self.known.discard(unlucky)
        if self.lie == "restarts":
            for guest in list(self.open):
                self.away.add(guest)
                self.open.pop(guest).write(frame((1012).to_bytes(2, "big"), 0x88))

    def _sync(self, guest: str, after: dict[str, int]) -> None:
        for to, seq in after.items():
            missed = [each for each in self.said if each["seq"] > seq]
            for each in missed if self.lie not in ("forgets-who-was-away", "recovers-nothing") else []:
                self._send(guest, each)
            self._send(guest, {"type": "synced", "to": to, "recovered": self.lie != "recovers-nothing"})

    def _deliver(self, guest: str, heard: dict[str, Any], *, lied_to: bool) -> None:
        if lied_to and self.lie == "loses-a-message" and heard["seq"] == _FATEFUL:
            return
        if lied_to and self.lie == "mixes-up-the-order" and heard["seq"] == _FATEFUL - 1:
            self.kept_back[guest] = heard
            return
        if lied_to and self.lie == "renumbers-messages" and heard["seq"] == _FATEFUL:
            heard = {**heard, "seq": heard["seq"] - 1}
        self._send(guest, heard)
        if lied_to and self.lie == "says-it-twice" and heard["seq"] == _FATEFUL:
            self._send(guest, heard)
        if guest in self.kept_back:
            self._send(guest, self.kept_back.pop(guest))

    # --- what is told -------------------------------------------------------------------------------------------------

    def tell(self, buyer: str, order: dict[str, Any], status: str) -> None:
        """What became of an order, to its buyer."""
        if self.lie == "tells-nobody" or not self.open:
            return
        if self.lie == "tells-somebody-else":
            buyer = next((guest for guest in sorted(self.open) if guest != buyer), buyer)
        if self.lie == "tells-a-wrong-result" and status == "cancelled":
            status = "paid"
        event = {"type": "system", "event": f"order-{status}", "data": {**order, "status": status}}
        if self.lie == "contradicts-itself":
            event["event"] = "order-eaten"
        for _ in range(2 if self.lie == "tells-twice" else 1):
            self._send(buyer, event)

    # --- sockets ------------------------------------------------------------------------------------------------------

    async def socket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its last."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            guest = fields[b"Authorization"].decode().removeprefix("Bearer ").partition(".")[0]
            if guest not in self.known or self.lie == "lets-nobody-in":
                writer.write(b"HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n")
                return
            accept = base64.b64encode(hashlib.sha1(fields[b"Sec-WebSocket-Key"] + GUID).digest())
            writer.write(b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            self.open[guest] = writer
            self._send(guest, {"type": "welcome"})
            while await self._take(guest, writer, *await read_frame(reader)):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _take(self, guest: str, writer: asyncio.StreamWriter, first: int, payload: bytes) -> bool:
        if first == 0x88:
            # Also the answer to a close of ours.
            if self.open.get(guest) is writer:
                self.open.pop(guest).write(frame(payload, 0x88))
            return False
        said = json.loads(payload)
        if said["type"] == "sync":
            self._sync(guest, said["after"])
            return True
        if guest in self.away and self.lie == "restarts" and self.open.get(guest) is not writer:
            # Too late for this socket: it is said again over the next.
            return True
        if self.lie == "refuses-a-message" and self.seq == _FATEFUL:
            self.seq += 1
            problem = {"type": "/problems/too-many-frames"}
            self._send(guest, {"type": "error", "id": said["id"], "problem": problem})
            return True
        seq = self.say(guest, said)
        if not (self.lie == "does-not-acknowledge" and seq == _FATEFUL):
            self._send(guest, {"type": "ack", "id": said["id"], "to": said["to"], "seq": seq, "timestamp": 0})
        return True

    def _send(self, guest: str, what: dict[str, Any]) -> None:
        writer = self.open.get(guest)
        if writer is not None and not writer.is_closing():
            writer.write(frame(json.dumps(what, default=str).encode()))
