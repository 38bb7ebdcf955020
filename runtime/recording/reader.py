"""Reads recordings, from any source: bounded in time and memory, whole or cut short."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from npud.errors import NpudError, RecordError, SubscribeError
from npud.messages import DetectionsMessage
from npud.wire import decode
from runtime.recording.mcap_file import FORMAT, need_mcap
from runtime.recording.messages import TensorsMessage
from runtime.recording.setup import Setup

if TYPE_CHECKING:
    from mcap.records import Channel, Chunk, Message, Metadata, Schema

MAX_CHUNK = 256 << 20  # unpacked
MAX_CHANNELS = 1000
MAX_SETUPS = 100


@dataclass(frozen=True, eq=False)
class Recorded:
    """One frame: its outputs with how they are read, what was published, the picture if there is.

    `payload` is the wire message, byte for byte, and `published` what it says.  `picture` is
    (schema, message).
    """

    setup: Setup
    tensors: TensorsMessage
    payload: bytes
    published: DetectionsMessage
    picture: tuple[str, bytes] | None


@dataclass
class _State:
    """What has been read so far."""

    about: dict[str, str] = field(default_factory=dict)
    setups: dict[str, Setup] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    tensors: dict[str, TensorsMessage] = field(default_factory=dict)  # by camera, as the next
    pictures: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)


class Reader:
    """The frames of a recording, in order; once.

    After the last one `cut` says why the file ended early, or is "".  Raises RecordError, naming
    the file, for one that is no recording or is damaged.
    """

    def __init__(self, path: Path) -> None:
        need_mcap()
        self.path, self.cut = path, ""
        self._state = _State()

    @property
    def about(self) -> dict[str, str]:
        """What the recording says of npud and the platform that made it."""
        return self._state.about

    def __iter__(self) -> Iterator[Recorded]:
        try:
            with self.path.open("rb") as stream:
                for record in self._records(stream):
                    yield from self._take(record)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be read: {error.strerror}") from None
        except NpudError as error:
            raise RecordError(f"{self.path}: {error}") from None
        if not self._state.about:
            topics = ", ".join(sorted(c.topic for c in self._state.channels.values())[:5])
            raise RecordError(
                f"{self.path}: expected a recording of npud, got an MCAP file "
                + (f"with the topics {topics}" if topics else "without messages")
            )

    def _records(self, stream: IO[bytes]) -> Iterator[Any]:
        """The records in the file and its chunks; ends early where the file does."""
        from mcap.exceptions import EndOfFile, InvalidMagic, RecordLengthLimitExceeded
        from mcap.records import Chunk, Footer
        from mcap.stream_reader import StreamReader, breakup_chunk

        size = os.fstat(stream.fileno()).st_size
        source = StreamReader(stream, emit_chunks=True, record_size_limit=max(size, 1))
        records = iter(source.records)
        ended = False
        while True:
            try:
                record = next(records, None)
                if record is None:
                    return
                found = [record]
                if isinstance(record, Chunk):
                    found = breakup_chunk(_inflated(record))
                ended = ended or isinstance(record, Footer)
            except InvalidMagic:
                if ended:
                    return
                raise RecordError("expected an MCAP file, got something else") from None
            except (EndOfFile, RecordLengthLimitExceeded):
                self.cut = "it was not finished: what came after the last whole chunk is lost"
                return
            except NpudError:
                raise
            except Exception as error:  # the library raises whatever struct, lz4 and str raise
                if stream.tell() >= size and not ended:
                    self.cut = "it ends within a chunk, which is lost"
                    return
                why = str(error) or type(error).__name__
                raise RecordError(f"damaged at byte {stream.tell()}: {why}") from None
            yield from found

    def _take(self, record: Any) -> Iterator[Recorded]:
        from mcap.records import Channel, Message, Metadata, Schema

        state = self._state
        if isinstance(record, Metadata):
            self._metadata(record)
        elif isinstance(record, Schema) and len(state.schemas) < MAX_CHANNELS:
            state.schemas[record.id] = record
        elif isinstance(record, Channel) and len(state.channels) < MAX_CHANNELS:
            state.channels[record.id] = record
        elif isinstance(record, Message) and state.about:
            channel = state.channels.get(record.channel_id)
            if channel:
                yield from self._message(channel, record)

    def _metadata(self, record: Metadata) -> None:
        state, values = self._state, record.metadata
        if record.name == "npud":
            if values.get("format") != FORMAT:
                got = values.get("format")
                raise RecordError(f"expected a recording of format {FORMAT}, got {got!r}")
            state.about = values
        elif record.name == "npud.setup" and len(state.setups) < MAX_SETUPS:
            state.setups[values.get("id", "")] = Setup.decode(values.get("setup", ""))

    def _message(self, channel: Channel, record: Message) -> Iterator[Recorded]:
        state = self._state
        kind, _, camera = channel.topic.partition("/")
        if kind == "frames" and channel.schema_id in state.schemas:
            name = state.schemas[channel.schema_id].name
            state.pictures[camera] = (record.sequence, name, record.data)
        elif kind == "tensors":
            state.tensors[camera] = TensorsMessage.decode(record.data)
        elif kind == "detections":
            yield from self._frame(channel.topic, record)

    def _frame(self, topic: str, record: Message) -> Iterator[Recorded]:
        """The frame that a detections message completes."""
        state = self._state
        try:
            published = decode((topic.encode(), record.data))
        except SubscribeError as error:
            raise RecordError(str(error)) from None
        assert isinstance(published, DetectionsMessage)  # noqa: S101 - by its topic
        tensors = state.tensors.pop(published.camera, None)
        number, name, data = state.pictures.pop(published.camera, (-1, "", b""))
        if tensors is None or (tensors.session, tensors.seq) != (published.session, published.seq):
            return  # its outputs were not recorded
        setup = state.setups.get(tensors.setup)
        if setup is None:
            raise RecordError(f"{topic}, frame {published.frame}: no setup {tensors.setup!r}")
        picture = (name, data) if number == published.seq & 0xFFFFFFFF else None
        yield Recorded(setup, tensors, record.data, published, picture)


def _inflated(chunk: Chunk) -> Chunk:
    """The chunk unpacked, no further than MAX_CHUNK, its checksum compared."""
    from mcap.records import Chunk

    if chunk.uncompressed_size > MAX_CHUNK:
        raise RecordError(f"a chunk of {chunk.uncompressed_size} bytes, more than {MAX_CHUNK}")
    data = _unpacked(chunk)
    if len(data) != chunk.uncompressed_size:
        raise ValueError(f"a chunk of {len(data)} bytes that says {chunk.uncompressed_size}")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError("the checksum of a chunk is wrong")
    return Chunk(
        compression="",
        data=data,
        message_start_time=chunk.message_start_time,
        message_end_time=chunk.message_end_time,
        uncompressed_crc=0,
        uncompressed_size=len(data),
    )


def _unpacked(chunk: Chunk) -> bytes:
    if chunk.compression == "lz4":
        import lz4.frame

        data: bytes = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, MAX_CHUNK + 1)
        return data
    if chunk.compression == "zstd":
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(chunk.data) as stream:
            return stream.read(MAX_CHUNK + 1)
    if chunk.compression:
        raise RecordError(f"chunks packed with {chunk.compression!r}; expected lz4, zstd or none")
    return chunk.data
