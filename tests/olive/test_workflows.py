"""Workflows are plain JSON, and their data does not leak from calibration into the score."""

import json
from pathlib import Path

import pytest

from slmlab import olive
from slmlab.errors import UsageError

SOURCE = Path("a-model")
SCORED_TOKENS = 20 * 512  # of the full profile


def data(workflow, name):
    [found] = [entry for entry in workflow["data_configs"] if entry["name"] == name]
    return found["load_dataset_config"]


@pytest.mark.parametrize(
    "workflow",
    [
        olive.optimizing(SOURCE),
        olive.optimizing(SOURCE, "INT8 static"),
        olive.searching(Path("exported"), SOURCE, list(olive.QUANTIZERS), 2),
        olive.fusing(SOURCE),
    ],
)
def test_a_workflow_is_json(workflow):
    assert json.loads(json.dumps(workflow)) == workflow


def test_without_a_quantizer_it_only_exports():
    assert list(olive.optimizing(SOURCE)["passes"]) == ["export"]


def test_blocks_get_their_output_named_again():
    assert list(olive.optimizing(SOURCE, "INT8 dynamic")["passes"]) == ["export", "quantise"]
    assert list(olive.optimizing(SOURCE, "INT4 in blocks")["passes"])[-1] == "name"


def test_a_search_lists_the_quantizers_in_order():
    wanted = ["INT4 in blocks", "INT8 dynamic"]
    passes = olive.searching(Path("exported"), SOURCE, wanted, 2)["passes"]["quantise"]
    assert [pass_["type"] for pass_ in passes] == [
        olive.QUANTIZERS[name]["type"] for name in wanted
    ]


def test_a_search_tries_each_quantizer_with_one_setting():
    [pass_] = olive.searching(Path("exported"), SOURCE, ["INT8 dynamic"], 2)["passes"]["quantise"]
    assert pass_["per_channel"] == pass_["reduce_range"] == "DEFAULT_VALUE"


def test_calibration_reads_none_of_the_scored_tokens():
    workflow = olive.searching(Path("exported"), SOURCE, ["INT8 static"], SCORED_TOKENS // 512)
    calibration, scored = data(workflow, "calibration"), data(workflow, "scored")
    assert scored["first"] == 0
    assert calibration["first"] * calibration["length"] >= scored["chunks"] * scored["length"]


def test_an_unknown_quantizer_is_refused():
    with pytest.raises(UsageError, match="no quantizer 'INT3'; choose INT8 dynamic"):
        olive.optimizing(SOURCE, "INT3")
