"""Which files are refused, with which words, and which are not."""

import errno
import gzip
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.printable import printable
from scenarios.traces import lines as lines_module
from scenarios.traces.call import Trace, TraceError
from scenarios.traces.importer import read_stream, read_trace
from scenarios.traces.lines import LONGEST, Lines, looks_binary

Read = Callable[[str], Trace]

CALL = (
    "9828  ioctl(4, KVM_SET_USER_MEMORY_REGION, {slot=14, flags=0, guest_phys_addr="
    "0x169000, memory_size=0, userspace_addr=0}) = 0\n"
)
EVENT = "kvm_set_user_memory Slot#0 flags=0x0 gpa=0x0 size=0x1000 ua=0x7f2a1 ret=0\n"


def refusal(path: Path | str, **options: int) -> str:
    with pytest.raises(TraceError) as caught:
        read_trace(path, **options)
    message = str(caught.value)
    assert message.startswith(printable(str(path)))
    assert message.isprintable()
    return message


def written(tmp_path: Path, content: bytes | str, name: str = "some.trace") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.strace")


def test_directory_is_refused(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path)


def test_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:  # root may read files of any mode
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "not allowed" in refusal(tmp_path / "roots.strace")


def test_other_reasons_are_given_in_the_systems_words(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "symbolic links" in refusal(tmp_path / "loop")
    assert "Not a directory" in refusal(written(tmp_path, CALL) / "below")
    assert "null byte" in refusal("nul\0in name")


def test_error_while_reading_is_a_trace_error() -> None:
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(TraceError, match="cannot be read: Input/output error"):
        read_stream(io.BufferedReader(Failing()), source="disk")


def test_empty_file_is_refused_with_a_way_to_record_one(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, ""))
    assert "is empty" in message
    assert "strace -f -e trace=ioctl -o FILE" in message
    assert "-trace kvm_set_user_memory" in message


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF\x02\x01\x01\0\0",
        CALL.encode() + b"\0",
        CALL.encode("utf-16"),
        bytes(range(128, 256)) * 9,
        b"\x01\x02\x03\x04\x05\x06",
        b"\x28\xb5\x2f\xfd" + bytes(range(1, 255)),
    ],
)
def test_binary_file_is_refused(tmp_path: Path, content: bytes) -> None:
    message = refusal(written(tmp_path, content))
    assert "binary data" in message
    assert content[:4].hex(" ") in message


def test_odd_bytes_in_text_are_let_through(tmp_path: Path) -> None:
    latin = '9828 write(1, "\xfcber", 4) = 4\n'.encode("latin-1")
    assert len(read_trace(written(tmp_path, latin + CALL.encode())).calls) == 1
    assert not looks_binary(("é" * 4096).encode()[:8191])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (" \n\n", "in 2 lines (all blank)"),
        ("Dear list,\n", "unknown 1, the first in line 1 (before the first line of"),
        (
            "7 ioctl(3, KVM_RUN, 0) = 0\n7 ioctl(3, KVM_RUN, 0) = 0\n7 close(3) = 0\n",
            "in 3 lines (KVM_RUN 2, close 1)",
        ),
        ("7 ioctl(9, 0x4020ae46, 0x7ffd) = 0\n", "only a pointer: record without"),
        (CALL.partition(")")[0] + " <unfinished ...>\n", "without an answer 1"),
        ("1@2.3:kvm_run_exit cpu 0\n", "(kvm_run_exit 1)"),
        ("\x1b[1mbold\x1b[0m\n", "[1mbold"),
    ],
)
def test_file_without_an_update_says_what_it_holds_instead(
    tmp_path: Path, content: str, said: str
) -> None:
    message = refusal(written(tmp_path, content))
    assert "no memory-region update" in message
    assert said in message
    assert "record one with: strace -f -e trace=ioctl -o FILE" in message


def test_more_calls_than_allowed_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "\n" + CALL * 4)
    message = refusal(path, max_calls=3)
    assert message.startswith(f"{path}:5: more than 3 memory-region updates")
    assert "--max-calls N" in message
    assert "head -n 4 FILE" in message
    assert len(read_trace(path, max_calls=4).calls) == 4


def test_gzipped_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    packed = gzip.compress((CALL * 3).encode())
    for name in ("a.strace.gz", "a.strace"):
        trace = read_trace(written(tmp_path, packed, name))
        assert [call.line for call in trace.calls] == [1, 2, 3]
    plain = read_trace(written(tmp_path, CALL, "plain.gz"))
    assert len(plain.calls) == 1


@pytest.mark.parametrize("cut", [5, 30, -4])
def test_damaged_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    packed = gzip.compress(os.urandom(200).hex().encode())
    assert "gzip data are damaged" in refusal(written(tmp_path, packed[:cut]))
    broken = packed[:20] + b"\xff" * 20 + packed[40:]
    assert "gzip data are damaged" in refusal(written(tmp_path, broken))


def test_first_telling_line_decides_the_format(read: Read) -> None:
    quoted = '7 write(2, "' + EVENT.strip() + '", 84) = 84\n'
    both = read("Hello,\nsee below\n" + quoted + EVENT + CALL)
    assert both.format == "strace"
    assert [call.line for call in both.calls] == [5]
    assert both.other_lines == {"write": 1}
    code = "--- a/accel/kvm/kvm-all.c\nioctl(fd, KVM_SET_USER_MEMORY_REGION, &mem);\n"
    qemu = read("Hello,\n" + code + EVENT + CALL)
    assert qemu.format == "qemu-trace"
    assert [call.line for call in qemu.calls] == [4]


def test_line_that_is_too_long_is_unknown_and_keeps_the_numbers(read: Read) -> None:
    long = '7 write(1, "' + "x" * (5 * LONGEST) + '") = 1\n'
    trace = read(CALL + long + CALL + "y" * (LONGEST + 1))
    assert [call.line for call in trace.calls] == [1, 3]
    assert trace.lines == 4
    assert trace.unknown_lines.by_why == {"longer than 64 KiB": 2}
    assert [unknown.line for unknown in trace.unknown_lines.first] == [2, 4]
    assert all(len(unknown.text) == 80 for unknown in trace.unknown_lines.first)


def test_line_ends_of_other_systems_are_read(read: Read) -> None:
    trace = read((CALL + CALL.replace(" = 0", " <unfinished ...>")) * 2)
    other = read(
        ((CALL + CALL.replace(" = 0", " <unfinished ...>")) * 2).replace("\n", "\r\n")
    )
    assert trace == other


def test_only_the_first_unknown_lines_are_kept(read: Read) -> None:
    trace = read(CALL + "what is this\n" * 1000 + "half")
    assert trace.unknown_lines.count == 1001
    assert [unknown.line for unknown in trace.unknown_lines.first] == [
        2,
        3,
        4,
        5,
        6,
        1002,
    ]


def test_kinds_are_bounded(read: Read) -> None:
    calls = "".join(f"7 call{number}(0) = 0\n" for number in range(1000))
    trace = read(calls + CALL)
    assert sum(trace.other_lines.values()) == 1000
    assert trace.other_lines["other kinds"] == 1000 - 256


def test_name_of_the_file_is_made_printable(tmp_path: Path) -> None:
    path = written(tmp_path, "\n", "new\nline\x1b.strace")
    assert "\n" not in refusal(path)
    assert read_trace(str(written(tmp_path, CALL))).source.endswith("some.trace")


@given(st.binary(max_size=300), st.integers(1, 20))
def test_lines_are_those_of_the_whole_text_wherever_blocks_end(
    content: bytes, block: int
) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            return super().read(min(size, block))

    lines = Lines(Slow(content), lambda _number, text: pytest.fail(text))
    numbered = list(lines)
    whole = content.split(b"\n")
    expected = [line.removesuffix(b"\r") for line in whole[:-1]]
    assert [number for number, _ in numbered] == list(range(1, len(whole)))
    decoded = [line.decode("utf-8", "replace") for line in expected]
    assert [text.rstrip("\r") for _, text in numbered] == [
        text.rstrip("\r") for text in decoded
    ]
    assert (lines.half is not None) == bool(whole[-1])
    assert lines.count == len(numbered) + (lines.half is not None)


def test_a_block_is_larger_than_the_longest_line() -> None:
    # Otherwise a line may be cut before it is known to be too long.
    assert lines_module._BLOCK > LONGEST


FRAGMENTS = st.sampled_from(
    [
        CALL,
        CALL.strip(),
        EVENT,
        EVENT.strip(),
        " <unfinished ...>\n",
        "9828 <... ioctl resumed>) = 0\n",
        "ioctl(",
        "KVM_SET_USER_MEMORY_REGION",
        "{slot=",
        "}) = -1 ",
        "= ?",
        "EINVAL",
        "[pid 3] ",
        "> ",
        "=3D",
        "=\n",
        "\n",
        "/* ",
        "*/ ",
        "<",
        ">",
        "0x",
        "-1",
        "ret=",
        "Slot#",
        "7@1.2:",
        "kvm_set_user_memory ",
        "FlatView #0\n",
        "  0000000000001000-0000000000001fff (prio 0, ram): ",
        "@0000000000002000",
        " KVM\n",
    ]
)
LAYOUT = "FlatView #1\n  0000000000001000-0000000000001fff (prio 0, ram): ram KVM\n"


@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=5)), max_size=30))
def test_no_text_whatever_breaks_the_reader(read: Read, parts: list[str]) -> None:
    text = "".join(parts)
    for content in (text, CALL + text, EVENT + text, LAYOUT + text):
        with suppress(TraceError):
            calls = read(content).calls
            assert [call.index for call in calls] == list(range(len(calls)))
            assert all(call.entered <= call.returned for call in calls)
