"""The GGUF reader: it agrees with the `gguf` package, is far faster, and nothing breaks it."""

import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmlab.errors import InvalidModelFile
from slmlab.gguf import TYPES, Array, inspect, parse_header, read_header, read_tensor, tensor_bytes

fuzz = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: object) -> bytes:
    if isinstance(value, list):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    return text(key) + struct.pack("<II", 4, value)


def info(name: str, shape: tuple[int, ...], type: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", type, offset)


def model(
    pairs: dict[str, object] | None = None,
    infos: tuple[bytes, ...] = (info("a", (32,)), info("b", (32, 2), 2, 128)),
    data: int = 164,
    opening: bytes = b"GGUF" + struct.pack("<I", 3),
    counts: tuple[int, int] | None = None,
) -> bytes:
    """Return a small model file: F32 tensor a of 128 bytes, Q4_0 tensor b of 36 after it."""
    if pairs is None:
        pairs = {"general.architecture": "toy", "toy.block_count": 2, "list": ["x", "yz", ""]}
    body = b"".join(pair(key, value) for key, value in pairs.items()) + b"".join(infos)
    header = opening + struct.pack("<QQ", *(counts or (len(infos), len(pairs)))) + body
    return header + bytes(-len(header) % 32) + bytes(data)


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidModelFile) as caught:
        parse_header(data, "toy.gguf")
    return str(caught.value)


def test_types_are_those_of_ggml():
    gguf = pytest.importorskip("gguf")
    known = {type.name: sizes for type, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert known.items() <= TYPES.items()
    assert set(TYPES) - set(known) <= {"Q2_0"}  # newer than the gguf package


def test_numbers_of_the_types_are_those_of_ggml():
    gguf = pytest.importorskip("gguf")
    for type in gguf.GGMLQuantizationType:
        weights, _ = TYPES[type.name]
        header = parse_header(model(infos=(info("a", (weights,), type),), data=400), "toy.gguf")
        assert header.tensors[0].type == type.name


def test_small_model_is_read():
    header = parse_header(model(), "toy.gguf")
    assert header.version == 3
    assert dict(header.metadata) | {"list": None} == {
        "general.architecture": "toy",
        "toy.block_count": 2,
        "list": None,
    }
    assert list(header.metadata["list"]) == ["x", "yz", ""]
    first, second = header.tensors
    assert (first.name, first.type, first.shape, first.bytes) == ("a", "F32", (32,), 128)
    assert (second.type, second.elements, second.bytes) == ("Q4_0", 64, 36)
    assert second.offset == header.data_offset + 128
    assert header.data_offset % 32 == 0


def test_version_2_is_read():
    assert parse_header(model(opening=b"GGUF" + struct.pack("<I", 2)), "toy").version == 2


def test_long_lists_stay_undecoded_until_asked():
    tokens = parse_header(model(), "toy.gguf").metadata["list"]
    assert isinstance(tokens, Array)
    assert "_values" not in vars(tokens)
    assert tokens[1] == "yz"
    assert "_values" in vars(tokens)


def test_bytes_of_a_tensor_follow_from_its_blocks():
    assert tensor_bytes("Q4_0", (576, 10)) == 576 * 10 // 32 * 18
    assert tensor_bytes("F16", (3, 5)) == 30


def test_inspect_reports_what_the_file_is(tmp_path):
    path = tmp_path / "toy.gguf"
    path.write_bytes(model())
    found = inspect(path)
    assert found.architecture == "toy"
    assert found.parameters == 96
    assert found.bits_per_weight == pytest.approx(8 * (128 + 36) / 96)
    assert found.tensor_types == {"F32": 1, "Q4_0": 1}
    assert (found.layers, found.context, found.vocabulary) == (2, None, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GGML" + model()[4:], "letters GGUF"),
        (b"GG", "letters GGUF"),
        (model(opening=b"GGUF" + struct.pack("<I", 1)), "version is 1"),
        (model(opening=b"GGUF" + struct.pack(">I", 3)), "version is 50331648"),
        (model(counts=(2**60, 3)), f"claims to hold {2**60} tensors"),
        (model(counts=(2, 2**60)), f"claims to hold {2**60} metadata entries"),
        (model()[:100], "longer than what is left"),
        (model()[:-1], "beyond the end of the file"),
        (model({"a": "x"}).replace(text("x"), struct.pack("<Q", 2**63) + b"x"), "longer than"),
        (model({"a": ["x"]}).replace(text("x"), struct.pack("<Q", 2**63) + b"x"), "longer than"),
        (model({"general.alignment": 3}), "no power of two"),
        (model({"general.alignment": "32"}), "no power of two"),
        (model(infos=(info("a", (32,)), info("a", (32,), 0, 128))), "the same name"),
        (model(infos=(info("a", (32,)), info("b", (8,), 0, 64))), "overlap"),
        (model(infos=(info("a", (32,), 0, 4),)), "not aligned"),
        (model(infos=(info("a", (32,), 0, 2**63),)), "beyond the end of the file"),
        (model(infos=(info("a", (2**62, 2**62, 2**62)),)), "beyond the end of the file"),
        (model(infos=(info("a", (33,), 2),)), "impossible shape"),
        (model(infos=(info("a", (0,)),)), "impossible shape"),
        (model(infos=(info("a", (), 2),)), "impossible shape"),
        (model(infos=(info("a", (1,) * 5),)), "5 dimensions"),
        (model(infos=(info("a", (32,), 4),)), "unknown type 4"),
        (model({"a": 1}).replace(struct.pack("<II", 4, 1), struct.pack("<II", 13, 1)), "kind 13"),
        (model({"a": ["x"]}).replace(struct.pack("<II", 9, 8), struct.pack("<II", 9, 9)), "kind 9"),
    ],
)
def test_damage_is_named_in_one_sentence(data, reason):
    message = refusal(data)
    assert reason in message
    assert message.startswith("toy.gguf is not a usable model file: ")
    assert message.count("\n") == 0
    assert message.endswith("fetch or make it again.")


def test_repeated_metadata_is_refused():
    twice = pair("a", 1) * 2
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + twice
    assert "names 'a' twice" in refusal(data)


def test_missing_and_empty_files_and_folders_are_refused(tmp_path):
    (tmp_path / "empty.gguf").touch()
    for path, reason in (
        (tmp_path / "none.gguf", "No such file"),
        (tmp_path / "empty.gguf", "is empty"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InvalidModelFile, match=reason):
            read_header(path)


def test_data_of_one_tensor_is_read(tmp_path):
    path = tmp_path / "toy.gguf"
    path.write_bytes(model()[:-164] + b"a" * 128 + b"b" * 36)
    assert read_tensor(path, "b") == b"b" * 36
    with pytest.raises(InvalidModelFile, match="no tensor named 'c'"):
        read_tensor(path, "c")


@pytest.mark.parametrize("data", [model({}), model(infos=(), data=0)])
def test_a_file_that_is_no_model_is_not_inspected(tmp_path, data):
    path = tmp_path / "toy.gguf"
    path.write_bytes(data)
    with pytest.raises(InvalidModelFile, match="not a model"):
        inspect(path)


def survives(data: bytes) -> None:
    """Read to the end, or refuse in one sentence; anything else fails the test."""
    try:
        header = parse_header(data, "toy.gguf")
    except InvalidModelFile as refused:
        assert "\n" not in str(refused)
    else:
        for value in header.metadata.values():
            if isinstance(value, Array):
                assert len(list(value)) == len(value)
        assert all(tensor.offset + tensor.bytes <= len(data) for tensor in header.tensors)


counts = st.sampled_from(
    [0, 1, 2, 3, 31, 32, 255, 2**16, 2**31, 2**32 - 1, 2**60, 2**63, 2**64 - 1]
)


@pytest.mark.slow
@settings(fuzz, max_examples=4000)
@given(st.integers(0, len(model()) - 8), st.binary(min_size=1, max_size=8))
def test_fuzz_overwritten_bytes(position, junk):
    data = bytearray(model())
    data[position : position + len(junk)] = junk
    survives(bytes(data))


@pytest.mark.slow
@settings(fuzz, max_examples=4000)
@given(st.integers(4, 300), counts, st.integers(0, len(model())))
def test_fuzz_hostile_numbers_and_truncation(position, number, length):
    data = bytearray(model())
    data[position : position + 8] = struct.pack("<Q", number)
    survives(bytes(data))
    survives(bytes(data[:length]))


@pytest.mark.slow
@settings(fuzz, max_examples=3000)
@given(counts, counts, st.binary(max_size=200))
def test_fuzz_anything_after_the_magic(tensors, pairs, rest):
    survives(b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + rest)


@pytest.mark.slow
@settings(fuzz, max_examples=500)
@given(
    st.dictionaries(
        st.text(max_size=9).filter(lambda key: key != "general.alignment"),
        st.text(max_size=9) | st.integers(0, 2**32 - 1) | st.lists(st.text(max_size=5)),
        max_size=5,
    ),
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 1, 2, 8, 14])), max_size=5),
)
def test_what_is_written_is_read_back(pairs, blocks):
    types = {0: "F32", 1: "F16", 2: "Q4_0", 8: "Q8_0", 14: "Q6_K"}
    infos, wanted, offset = [], [], 0
    for index, (rows, number) in enumerate(blocks):
        shape = (TYPES[types[number]][0], rows)
        infos.append(info(f"t{index}", shape, number, offset))
        wanted.append((f"t{index}", types[number], shape))
        offset += -(-tensor_bytes(types[number], shape) // 32) * 32
    header = parse_header(model(pairs, tuple(infos), data=offset), "toy.gguf")
    read = {k: list(v) if isinstance(v, Array) else v for k, v in header.metadata.items()}
    assert read == pairs
    assert [(t.name, t.type, t.shape) for t in header.tensors] == wanted


@pytest.mark.slow
def test_header_agrees_with_the_gguf_package_in_a_tenth_of_its_time(smollm2: Path):
    gguf = pytest.importorskip("gguf")
    started = time.perf_counter()
    theirs = gguf.GGUFReader(smollm2)
    their_time = time.perf_counter() - started
    started = time.perf_counter()
    ours = read_header(smollm2)
    our_time = time.perf_counter() - started

    assert our_time < their_time / 10
    assert ours.data_offset == theirs.data_offset
    assert [(t.name, t.type, t.shape, t.offset, t.bytes) for t in ours.tensors] == [
        (t.name, t.tensor_type.name, tuple(t.shape), t.data_offset, t.n_bytes)
        for t in theirs.tensors
    ]
    for key, value in ours.metadata.items():
        theirs_value = theirs.fields[key].contents()
        assert (list(value) if isinstance(value, Array) else value) == theirs_value


@pytest.mark.slow
def test_inspect_smollm2(smollm2: Path):
    found = inspect(smollm2)
    assert (found.architecture, found.layers, found.context) == ("llama", 30, 8192)
    assert (found.parameters, found.vocabulary) == (134_515_008, 49_152)
    assert found.tensor_types == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
    assert found.bits_per_weight == pytest.approx(5.74, abs=0.01)
    assert "<|im_start|>" in found.chat_template


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(InvalidModelFile, match="null"):
        read_header(Path("a\0b.gguf"))
