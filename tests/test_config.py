from __future__ import annotations

import logging
from pathlib import Path

import pytest

from srpu import wording
from srpu.config import check_configs, entries, load_settings, read_stages
from srpu.errors import SettingsError
from srpu.manual import write_configs
from srpu.settings import FILES, TASKS
from srpu.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "configs" / "train").mkdir(parents=True)
    (tmp_path / "configs" / "base.py").touch()
    return Workspace(tmp_path)


def write(workspace: Workspace, name: str, text: str) -> None:
    path = workspace.configs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def mistakes(workspace: Workspace, *overrides: str, task: str = "train", config: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(task, workspace, overrides, config)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_later_files_win_and_origins_say_which(workspace: Workspace, tmp_path: Path) -> None:
    write(workspace, "base.py", "SEED = 1\nCROP_SIZE = 64\nTILE_SIZE = 128\nTILE_OVERLAP = 0.1\n")
    write(workspace, "dataset_config.py", "CROP_SIZE = 96\n")
    write(workspace, "train/train_config.py", "TILE_SIZE = 256\nTILE_OVERLAP = 0.2\nNUM_EPOCHS = 5\n")
    (tmp_path / "more.py").write_text("TILE_OVERLAP = 0.3\nNUM_EPOCHS = 6\n", encoding="utf-8")
    loaded = load_settings("train", workspace, ["NUM_EPOCHS=7"], tmp_path / "more.py")
    settings, origins = loaded.settings, loaded.origins
    assert (settings.SEED, origins["SEED"]) == (1, "configs/base.py")
    assert (settings.CROP_SIZE, origins["CROP_SIZE"]) == (96, "configs/dataset_config.py")
    assert (settings.TILE_SIZE, origins["TILE_SIZE"]) == (256, "configs/train/train_config.py")
    assert (settings.TILE_OVERLAP, origins["TILE_OVERLAP"]) == (0.3, str(tmp_path / "more.py"))
    assert (settings.NUM_EPOCHS, origins["NUM_EPOCHS"]) == (7, "--set")
    assert (settings.BATCH_SIZE, origins["BATCH_SIZE"]) == (8, "default")


def test_every_mistake_is_told_at_once(workspace: Workspace) -> None:
    write(
        workspace, "base.py", "NUM_CLASES = 3\nCROP_SIZE = 100\nCOLOR_MAPPING = {0: [0, 0], 1: 'red', 2: [0, 0, 300]}\n"
    )
    write(workspace, "augmentation_config.py", "FLIP = {'prob': 1}\nROTATE = {'range': [5, -5]}\nBLUR = 'on'\n")
    write(workspace, "train/train_config.py", "OPTIMIZER = 'Adam'\nNUM_EPOCHS = 'ten'\nCLASS_WEIGHTS = [1, 2, -1]\n")
    assert mistakes(workspace, "TRAIN_RATIO=0.9", "EMA_DECAY=nan") == [
        "14 mistakes in the settings:",
        "configs/base.py: NUM_CLASES = 3: unknown setting; did you mean NUM_CLASSES?",
        "configs/base.py: COLOR_MAPPING.0 = [0, 0]: has too few entries",
        'configs/base.py: COLOR_MAPPING.1 = "red": must be a list, e.g. [...]',
        "configs/base.py: COLOR_MAPPING.2.2 = 300: must be at most 255",
        "configs/base.py: CROP_SIZE = 100: must be a multiple of 32",
        "configs/augmentation_config.py: FLIP.prob = 1: unknown; there are enabled, p",
        "configs/augmentation_config.py: ROTATE.range = [5, -5]: the lower end 5.0 lies above the upper end -5.0",
        'configs/augmentation_config.py: BLUR = "on": must be a dictionary, e.g. {"enabled": True, "p": 0.5}',
        "configs/dataset_config.py (default): TEST_RATIO = 0.1: "
        "TRAIN_RATIO + VAL_RATIO + TEST_RATIO is 1.2; it must be 1",
        'configs/train/train_config.py: NUM_EPOCHS = "ten": must be a whole number',
        "configs/train/train_config.py: OPTIMIZER = \"Adam\": must be 'AdamW' or 'SGD'",
        "configs/train/train_config.py: CLASS_WEIGHTS.2 = -1: must be above 0",
        "configs/train/train_config.py: CLASS_WEIGHTS = [1, 2, -1]: must be 'balanced'",
        '--set: EMA_DECAY = "nan": must be a finite number',
    ]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("base.py", "NUM_EPOCHS = 3", "it belongs in configs/train/train_config.py"),
        ("train/train_config.py", "MASK_FORMAT = 'tiff'", "it belongs in configs/inference/inference_config.py"),
        ("train/train_config.py", "NUM_EPOCH = 3", "unknown setting; did you mean NUM_EPOCHS?"),
        ("train/train_config.py", "ZZZ = 3", "ZZZ = 3: unknown setting"),
        (
            "train/train_config.py",
            "X = 1\nNUM_EPOCHS = (\n",
            "configs/train/train_config.py, line 2: '(' was never closed",
        ),
        ("train/train_config.py", "X = 1\nY = X / 0\n", "configs/train/train_config.py, line 2: ZeroDivisionError"),
        ("base.py", "from configs.bose import *", "bose.py cannot be read (No such file or directory)"),
        ("base.py", "import configs.base", "write `from configs.base import *`"),
        ("base.py", "from configs.base import *", "configs/base.py, line 1: RecursionError"),
        ("base.py", "NUM_CLASSES = 2", "configs/base.py (default): CLASS_NAMES = "),
        ("base.py", "CLASS_NAMES = {0: 'a', 1: 'b', 2: 'a'}", "two classes have the same entry"),
        ("base.py", "IGNORE_INDEX = 2", "2 is a class already"),
        ("base.py", "MASK_VALUES = {0: 0, 127: 3}", "grey level 127 is given the class 3"),
        ("base.py", "NORMALIZATION = 'window'", "NORMALIZATION_WINDOW = [0, 4095]"),
        ("base.py", "CROP_SIZE = 64\nIMAGE_SIZE = 64", "IMAGE_SIZE is the old name of CROP_SIZE; keep one of them"),
        ("augmentation_config.py", "SCALE = {'range': [0, 2]}", "a factor must be above 0"),
        ("dataset_config.py", "GROUP_PATTERN = '[0-9'", "not a regular expression"),
        ("dataset_config.py", "GROUP_PATTERN = '[0-9]+'", "needs one bracket"),
        ("train/train_config.py", "RUN_NAME = 'a/b'", "it names a folder"),
        ("train/train_config.py", "CLASS_WEIGHTS = [1, 2]", "2 weights for NUM_CLASSES = 3"),
    ],
)
def test_mistake_in_a_file(workspace: Workspace, file: str, text: str, message: str) -> None:
    write(workspace, file, text)
    assert message in "\n".join(mistakes(workspace)).replace("\\", "/")


def test_file_in_another_encoding(workspace: Workspace) -> None:
    (workspace.configs / "base.py").write_bytes("# 类别\nSEED = 1\n".encode("gbk"))
    assert "base.py is not UTF-8 text" in mistakes(workspace)[0]


def test_byte_order_mark_of_an_editor_is_no_mistake(workspace: Workspace) -> None:
    (workspace.configs / "base.py").write_bytes("SEED = 1  # 种子\n".encode("utf-8-sig"))
    assert load_settings("train", workspace).settings.SEED == 1


def test_short_names_of_active_learning(workspace: Workspace) -> None:
    write(
        workspace,
        "active_learning/active_learning_config.py",
        "NUM_ITERATIONS = 20\nMAX_ACTIVE_LEARNING_ROUNDS = 10\nSAMPLES_PER_ITER = 1\nNUM_EPOCHS_PER_ITER = 10\n"
        'UNCERTAINTY_METHODS = ["entropy", "mine"]\nLEARNING_RATE = 0.002\nTRAINING_CONFIG = {"batch_size": 4}\n',
    )
    settings = load_settings("active", workspace, ["UNCERTAINTY_STRATEGIES.margin.weight=3"]).settings
    assert settings.MAX_ACTIVE_LEARNING_ROUNDS == 20  # the long name stands at its default, as it was written
    assert settings.BATCH_SIZE_TO_LABEL == 1
    training = settings.TRAINING_CONFIG
    assert (training.num_epochs_per_round, training.batch_size, training.learning_rate) == (10, 4, 0.002)
    settings = load_settings("active", workspace, ["BATCH_SIZE=2", "NUM_ITERATIONS=3"]).settings
    assert (settings.TRAINING_CONFIG.batch_size, settings.MAX_ACTIVE_LEARNING_ROUNDS) == (2, 3)
    on = {name: one.weight for name, one in settings.UNCERTAINTY_STRATEGIES.items() if one.enabled}
    assert on == {"entropy": 1, "mine": 1}


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("NUM_ITERATIONS = 20", "MAX_ACTIVE_LEARNING_ROUNDS = 12"),
        ("BATCH_SIZE = 2", 'TRAINING_CONFIG = {"batch_size": 4}'),
        ('UNCERTAINTY_METHODS = ["margin"]', 'UNCERTAINTY_STRATEGIES = {"entropy": {"weight": 2}}'),
    ],
)
def test_two_names_with_different_values(workspace: Workspace, short: str, long: str) -> None:
    write(workspace, "active_learning/active_learning_config.py", f"{short}\n{long}\n")
    with pytest.raises(SettingsError, match="two names of one setting") as error:
        load_settings("active", workspace)
    assert short.split()[0] in str(error.value)
    assert long.split()[0] in str(error.value)


def test_short_names_belong_to_active_learning(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="NUM_ITERATIONS"):
        load_settings("train", workspace, ["NUM_ITERATIONS=3"])
    with pytest.raises(SettingsError, match="must be a list of names"):
        load_settings("active", workspace, ["UNCERTAINTY_METHODS=entropy"])


def test_overrides(workspace: Workspace) -> None:
    write(workspace, "augmentation_config.py", "FLIP = {'enabled': False}\n")
    settings = load_settings(
        "train",
        workspace,
        [
            "FLIP.p=0.3",
            "CLASS_NAMES.0=foo",
            "DATASET_WEIGHTS.my.set=2",
            "ENCODER_NAME=resnet34",
            "MAX_MINUTES=None",
            "GAIN.range=[0.5, 2]",
            'RAW_DIRS=["a b", "c"]',
            "RUN_NAME=2024",
        ],
    ).settings
    assert settings.FLIP.model_dump() == {"enabled": False, "p": 0.3}
    assert settings.CLASS_NAMES == {0: "foo", 1: "SE", 2: "AM"}
    assert settings.DATASET_WEIGHTS == {"my.set": 2}
    assert settings.ENCODER_NAME == "resnet34"
    assert settings.MAX_MINUTES is None
    assert settings.GAIN.model_dump() == {"enabled": True, "p": 0.5, "range": (0.5, 2.0)}
    assert settings.RAW_DIRS == ["a b", "c"]
    assert settings.RUN_NAME == "2024"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("NUM_EPOCHS", "--set NUM_EPOCHS: write it as NAME=VALUE"),
        ("num_epochs=3", "--set: num_epochs = 3: unknown setting; did you mean NUM_EPOCHS?"),
        ("NUM_EPOCHS.p=3", "--set NUM_EPOCHS.p=3: NUM_EPOCHS has no parts; write NUM_EPOCHS=VALUE"),
        ("FLIP.q=3", "--set: FLIP.q = 3: unknown; there are enabled, p"),
        ("FLIP.p=3", "--set: FLIP.p = 3: must be at most 1"),
        ("MASK_FORMAT=png", '--set: MASK_FORMAT = "png": it belongs in configs/inference/inference_config.py'),
    ],
)
def test_mistake_in_an_override(workspace: Workspace, override: str, message: str) -> None:
    assert mistakes(workspace, override) == [message]


def test_old_name_is_read_with_a_sentence(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    write(workspace, "base.py", "IMAGE_SIZE = (512, 512)\n")
    with caplog.at_level(logging.INFO):
        assert load_settings("train", workspace).settings.CROP_SIZE == 512
    assert caplog.messages == [
        "IMAGE_SIZE (configs/base.py) is read as CROP_SIZE: images are never resized, only cropped."
    ]


@pytest.mark.parametrize("line", ["from configs.base import *", "from ..base import *"])
def test_an_imported_name_does_not_count_as_set(workspace: Workspace, line: str) -> None:
    write(
        workspace,
        "base.py",
        "SEED = 1\nTILE_SIZE = 128\nCROP_SIZE = 64\nRAW_DIRS = ['a']\n",
    )
    write(workspace, "dataset_config.py", "SEED = 2\nCROP_SIZE = 96\n")
    write(
        workspace,
        "train/train_config.py",
        f"{line}\nCROP_SIZE = CROP_SIZE\nTILE_SIZE = 2 * TILE_SIZE\nRAW_DIRS.append('b')\n",
    )
    loaded = load_settings("train", workspace)
    assert (loaded.settings.SEED, loaded.origins["SEED"]) == (2, "configs/dataset_config.py")
    assert (loaded.settings.CROP_SIZE, loaded.origins["CROP_SIZE"]) == (64, "configs/train/train_config.py")
    assert loaded.settings.TILE_SIZE == 256
    assert loaded.settings.RAW_DIRS == ["a", "b"]


def test_a_config_file_may_be_a_little_program(workspace: Workspace) -> None:
    text = """
    import os
    from pathlib import Path
    from configs import base
    from . import dataset_config as data
    home = Path("data") / "raw"
    def places(): return [home.as_posix()]
    class Helper: pass
    _PRIVATE = 1
    RAW_DIRS = places()
    SEED = base.SEED + data.SPLIT_SEED
    """
    write(workspace, "base.py", "SEED = 40\n")
    write(workspace, "dataset_config.py", "SPLIT_SEED = 2\n")
    write(workspace, "json_config.py", "\n".join(line.strip() for line in text.splitlines()))
    settings = load_settings("index", workspace).settings
    assert (settings.SEED, settings.RAW_DIRS) == (42, ["data/raw"])


def test_reading_leaves_no_trace_in_the_interpreter(workspace: Workspace) -> None:
    import sys

    write(workspace, "train/train_config.py", "from configs.base import *\n")
    before = list(sys.path), set(sys.modules)
    load_settings("train", workspace)
    assert (list(sys.path), set(sys.modules)) == before


def test_unknown_task(workspace: Workspace) -> None:
    assert mistakes(workspace, task="trian") == [f"No task is called trian; there are {', '.join(TASKS)}."]


def test_missing_further_file(workspace: Workspace, tmp_path: Path) -> None:
    assert "no.py cannot be read (No such file or directory)" in mistakes(workspace, config=tmp_path / "no.py")[0]


def test_check_looks_at_every_file_once(workspace: Workspace) -> None:
    write(workspace, "base.py", "SED = 1\n")
    write(workspace, "inference/inference_config.py", "SAVE_COLOURED = 1\n")
    write(workspace, "train/trian_config.py", "")
    with pytest.raises(SettingsError) as caught:
        check_configs(workspace)
    assert str(caught.value).splitlines() == [
        "3 mistakes in the settings:",
        "  configs/base.py: SED = 1: unknown setting; did you mean SEED?",
        "  configs/inference/inference_config.py: SAVE_COLOURED = 1: unknown setting; did you mean SAVE_COLORED?",
        "  configs/train/trian_config.py: no verb reads a file of this name",
    ]


@pytest.mark.parametrize("task", TASKS)
def test_written_files_load_as_the_defaults(tmp_path: Path, task: str) -> None:
    write_configs(tmp_path / "configs")
    workspace = Workspace(tmp_path)
    check_configs(workspace)
    loaded = load_settings(task, workspace)
    assert loaded.settings == TASKS[task][0]()
    assert {entry.name for entry in entries(task, loaded)} == set(TASKS[task][0].model_fields)
    assert "default" not in loaded.origins.values()


def test_writing_keeps_what_is_there(tmp_path: Path) -> None:
    written, kept = write_configs(tmp_path)
    (tmp_path / "base.py").write_text("SEED = 7\n", encoding="utf-8")
    (tmp_path / "json_config.py").unlink()
    assert (len(written), kept) == (len(FILES), [])
    written, kept = write_configs(tmp_path)
    assert (written, len(kept)) == ([tmp_path / "json_config.py"], len(FILES) - 1)
    assert (tmp_path / "base.py").read_text(encoding="utf-8") == "SEED = 7\n"
    write_configs(tmp_path, overwrite=True)
    assert "SEED = 42" in (tmp_path / "base.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", sorted(wording.WORDING))
def test_every_wording_can_be_told(kind: str) -> None:
    context = {
        "gt": 0,
        "ge": 0,
        "lt": 1,
        "le": 1,
        "multiple_of": 2,
        "expected": "x",
        "actual_length": 1,
        "max_length": 2,
    }
    told = wording.wish({"type": kind, "ctx": context})
    assert told
    assert "{{" not in told


def test_a_list_where_a_dictionary_is_needed(workspace: Workspace) -> None:
    (told,) = mistakes(workspace, 'CLASS_NAMES=["a", "b", "c"]')
    assert told == '--set: CLASS_NAMES = ["a", "b", "c"]: must be a dictionary, e.g. {0: ...}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SEED = 1\nreturn 3\n", "line 2: 'return' outside function"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit"),
    ],
)
def test_a_file_that_ends_itself_is_named(workspace: Workspace, text: str, reason: str) -> None:
    write(workspace, "base.py", text)
    (told,) = mistakes(workspace)
    assert told.startswith(f"configs/base.py, {reason}")


def test_masks_of_16_bits_have_levels_beyond_255(workspace: Workspace) -> None:
    loaded = load_settings("index", workspace, ["MASK_VALUES={0: 0, 32768: 1, 65535: 2}"])
    assert loaded.settings.MASK_VALUES[65535] == 2


STAGES = "configs/train/multistage_train_config.py"


def test_every_mistake_in_the_stages_is_told_at_once(workspace: Workspace) -> None:
    stages = [
        {"name": "a", "num_epoch": 3, "encoder_name": "unet", "device": "cpu", "NUM_EPOCHS": 2},
        {"name": "A", "batch_size": 0, "base_lr": -1, "flip": {"q": 1}, "class_weights": [1, 2]},
        {"num_epochs": "ten", "train_json": 3.5, "datasets": "labeled"},
        {"name": "b/c", "learning_rate": 1, "base_lr": 2},
        {"name": ".d"},
    ]
    write(workspace, "train/multistage_train_config.py", f"STAGES = {stages!r}\nSAVE_BEST_MODLE = 1\n")
    write(workspace, "train/train_config.py", "STAGES = []\nBATCH_SIZE = 0\n")
    told = mistakes(workspace, task="train-stages")
    assert told[0].endswith(" mistakes in the settings:")
    assert told[1:] == [
        f"configs/train/train_config.py: STAGES = []: it belongs in {STAGES} or "
        "configs/finetune/multistage_finetune_config.py",
        f"{STAGES}: SAVE_BEST_MODLE = 1: unknown setting; did you mean SAVE_BEST_MODEL?",
        "configs/train/train_config.py: BATCH_SIZE = 0: must be at least 1",
        f"{STAGES}: STAGES, stage 1 (a): num_epoch = 3: unknown key; did you mean num_epochs?",
        f'{STAGES}: STAGES, stage 1 (a): encoder_name = "unet": all stages share one network; set ENCODER_NAME in '
        "configs/base.py",
        f'{STAGES}: STAGES, stage 1 (a): device = "cpu": one value holds for all stages; set DEVICE in configs/base.py',
        f"{STAGES}: STAGES, stage 1 (a): NUM_EPOCHS = 2: unknown key; did you mean num_epochs?",
        f"{STAGES}: STAGES, stage 2 (A): flip.q = 1: unknown; there are enabled, p",
        f"{STAGES}: STAGES, stage 2 (A): batch_size = 0: must be at least 1",
        f"{STAGES}: STAGES, stage 2 (A): learning_rate = -1: must be above 0",
        f"{STAGES}: STAGES, stage 2 (A): class_weights = [1, 2]: 2 weights for NUM_CLASSES = 3; give one per class",
        f"{STAGES}: STAGES, stage 2 (A): stage 1 has this name already, and names files by it",
        f"{STAGES}: STAGES, stage 3: it has no name",
        f'{STAGES}: STAGES, stage 3: datasets = "labeled": must be a list, e.g. [...]',
        f'{STAGES}: STAGES, stage 3: num_epochs = "ten": must be a whole number',
        f"{STAGES}: STAGES, stage 4 (b/c): base_lr means learning_rate; keep one of them",
        f'{STAGES}: STAGES, stage 4 (b/c): name = "b/c": it names a folder, so it cannot be empty or hold any of '
        '\\ / : * ? " < > |',
        f'{STAGES}: STAGES, stage 5 (.d): name = ".d": it names files, so it cannot begin with a dot or end with a dot '
        "or a space",
    ]


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ("[]", "STAGES = []: there is no stage; write one"),
        ("3", "STAGES = 3: must be a list, e.g. [...]"),
        ('["a"]', 'STAGES.0 = "a": must be a dictionary'),
    ],
)
def test_stages_that_are_no_stages(workspace: Workspace, stages: str, told: str) -> None:
    (mistake,) = mistakes(workspace, f"STAGES={stages}", task="finetune-stages")
    assert told in mistake


def test_stages_stand_over_the_settings_of_training(workspace: Workspace) -> None:
    write(workspace, "augmentation_config.py", "FLIP = {'p': 0.1}\n")
    write(workspace, "train/train_config.py", "NUM_EPOCHS = 5\nBATCH_SIZE = 3\n")
    write(
        workspace,
        "train/multistage_train_config.py",
        "BATCH_SIZE = 4\nSTAGES = [{'name': 1, 'flip': {'enabled': False}}, "
        "{'name': 'b', 'image_size': (64, 64), 'base_lr': 2, 'num_epochs': 6}]\n",
    )
    loaded = load_settings("train-stages", workspace, ["WEIGHT_DECAY=0.5"])
    first, second = read_stages("train-stages", loaded.settings)
    assert (first.name, first.settings.NUM_EPOCHS, first.settings.BATCH_SIZE) == ("1", 5, 4)
    assert first.settings.FLIP.model_dump() == {"enabled": False, "p": 0.1}
    assert (second.settings.NUM_EPOCHS, second.settings.LEARNING_RATE, second.settings.CROP_SIZE) == (6, 2, 64)
    assert second.settings.WEIGHT_DECAY == 0.5
