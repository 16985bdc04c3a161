"""Every setting a user can change: its default, its checks and its manual.

One class stands for one file in ``configs/``; the text under a field is its manual, English first, then
Chinese. This is the only source of defaults: ``srpu config write`` makes ``configs/`` from it. :class:`Settings`
joins the files that all tasks share; each task's class adds its own file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Level = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Level, Level, Level]
Range = tuple[float, float]


class _File(BaseModel):
    """What all config files have in common: read-only, no unknown names, manuals from docstrings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
    )

    EXAMPLE: ClassVar[str] = ""
    """Further settings to copy, which end the config file as a comment."""


class Switch(_File):
    """One augmentation: is it on, and for which share of the crops."""

    enabled: bool = True
    p: Share = 0.5


class Ranged(Switch):
    """An augmentation whose strength is drawn evenly from a range."""

    range: Range

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: Range) -> Range:
        if value[0] > value[1]:
            raise ValueError(f"the lower end {value[0]} lies above the upper end {value[1]}")
        return value


class BaseConfig(_File):
    """Settings that every task shares: classes, model, device, folders.

    所有任务共用的设置：类别、模型、设备、文件夹。
    """

    NUM_CLASSES: Annotated[int, Field(ge=2, le=254)] = 3
    """How many classes the masks hold.
    掩膜中的类别数。"""

    CLASS_NAMES: dict[int, str] = {0: "carbon", 1: "SE", 2: "AM"}
    """The name of each class id, from 0 to NUM_CLASSES - 1.
    每个类别编号的名称，编号从 0 到 NUM_CLASSES - 1。"""

    COLOR_MAPPING: dict[int, Colour] = {0: (0, 0, 255), 1: (0, 255, 255), 2: (255, 126, 126)}
    """The colour of each class id in masks and pictures, as [red, green, blue] from 0 to 255.
    每个类别在掩膜和图片中的颜色，[红, 绿, 蓝]，0 到 255。"""

    IGNORE_INDEX: Level = 255
    """The id that means "not labelled" in mask files; such pixels are neither trained on, judged nor counted.
    掩膜文件中表示"未标注"的编号；这些像素不参与训练、评估和统计。"""

    IGNORE_COLOR: Colour = (0, 0, 0)
    """The colour that means "not labelled" in coloured masks.
    彩色掩膜中表示"未标注"的颜色。"""

    MASK_VALUES: dict[Annotated[int, Field(ge=0, le=65535)], Level] = {}
    """For masks of grey levels: which level is which class, e.g. {0: 0, 127: 1, 255: 2}.
    Empty: the levels are class ids.
    灰度掩膜中灰度值与类别的对应关系，例如 {0: 0, 127: 1, 255: 2}；
    留空表示灰度值就是类别编号。"""

    ENCODER_NAME: str = "resnet18"
    """The part of the network that reads the image: "unet", "resnet18", "resnet50", "efficientnet_b0" …
    "efficientnet_b7", "dinov2_vits14", or any feature extractor of the timm library.
    编码器，即网络中提取图像特征的部分："unet"、"resnet18"、"resnet50"、"efficientnet_b0" …
    "efficientnet_b7"、"dinov2_vits14"，或 timm 库中任意的特征提取网络。"""

    DECODER_NAME: str = "unet"
    """The part of the network that draws the mask: "unet", "unetplusplus", "deeplabv3plus" and more.
    解码器，即网络中由特征生成掩膜的部分："unet"、"unetplusplus"、"deeplabv3plus" 等。"""

    ENCODER_WEIGHTS: str | None = None
    """Where the encoder starts: None (random), "imagenet" or a timm tag (needs internet), or the path of a
    weights file.
    编码器的初始权重：None（随机）、"imagenet" 或 timm 标签（需要联网），或权重文件路径。"""

    NORMALIZATION: Literal["zscore", "percentile", "window", "dataset", "none"] = "zscore"
    """How grey levels are made comparable:
    "zscore": each image gets mean 0 and deviation 1;
    "percentile": each image's 1st to 99th percentile becomes 0 to 1;
    "window": NORMALIZATION_WINDOW becomes 0 to 1;
    "dataset": the training set's mean and deviation become 0 and 1;
    "none": the whole range of the file's number type becomes 0 to 1.
    灰度归一化方式：
    "zscore"：每幅图像的均值变为 0、标准差变为 1；
    "percentile"：每幅图像的第 1 到第 99 百分位变为 0 到 1；
    "window"：NORMALIZATION_WINDOW 的范围变为 0 到 1；
    "dataset"：整个训练集的均值变为 0、标准差变为 1；
    "none"：文件数值类型的全部范围变为 0 到 1。"""

    NORMALIZATION_WINDOW: Range | None = None
    """For NORMALIZATION = "window": the grey levels that become 0 and 1, e.g. [0, 4095].
    NORMALIZATION = "window" 时映射到 0 和 1 的两个灰度值，例如 [0, 4095]。"""

    DATABAR_ROWS: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    """Rows at the bottom that hold the microscope's data bar: 0, a number, or "auto" (searched in each image).
    They are left out of statistics, training, scores and area fractions; files are never changed.
    图像底部信息栏的行数：0、具体行数或 "auto"（逐幅自动识别）；
    这些行不参与统计、训练、评分和面积计算，图像文件本身不会被改动。"""

    PIXEL_SIZE_NM: Positive | None = None
    """Edge of a pixel in nanometres, for images whose file does not tell it.
    像素边长（纳米），用于文件中没有该信息的图像。"""

    CROP_SIZE: Annotated[int, Field(ge=32, multiple_of=32)] = 256
    """Edge in pixels of the crops that the network is trained on, a multiple of 32. Images are never resized.
    (IMAGE_SIZE, the old name, is read as this.)
    训练裁剪块的边长（像素），须为 32 的倍数；图像不会被缩放。旧名称 IMAGE_SIZE 也会按此读取。"""

    SHRINK: Literal[1, 2, 4] = 1
    """The network sees the image this many times smaller and its answer is enlarged again: 2 or 4 where structures are
    large or only their surroundings tell what they are (layers, big particles), with CROP_SIZE as many times larger.
    Details finer than this many pixels are lost.
    网络先把图像缩小这么多倍再处理，结果再放大回原尺寸：结构较大、或需要看到周围环境才能判断时（涂层、大颗粒）
    设为 2 或 4，同时把 CROP_SIZE 增大同样的倍数；小于该像素数的细节会丢失。"""

    TILE_SIZE: Annotated[int, Field(ge=64, multiple_of=32)] = 1024
    """Longest edge in pixels of the overlapping tiles that large images are predicted in, a multiple of 32; halve it
    when memory runs out.
    预测大图时重叠图块的最大边长（像素），须为 32 的倍数；内存不足时减半。"""

    TILE_OVERLAP: Annotated[float, Field(ge=0, le=0.75)] = 0.125
    """Share of a tile's edge that it has in common with its neighbour.
    相邻图块的重叠部分占图块边长的比例。"""

    DEVICE: str = "auto"
    """Where to compute: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
    计算设备："auto"（有 GPU 就用 GPU）、"cpu"、"cuda"、"cuda:1"、"mps"。"""

    PRECISION: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the computation; "auto" takes bf16 where the hardware computes it fast.
    计算精度；"auto" 在硬件支持时使用 bf16。"""

    SEED: Annotated[int, Field(ge=0)] = 42
    """The same seed, data and machine give the same model.
    随机种子；种子、数据和机器都相同，得到的模型就相同。"""

    LOGGER: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    """Where training curves go.
    训练曲线记录到哪里。"""

    RAW_DIRS: list[str] = ["data/raw"]
    """Folders of images, read with all their sub-folders; they may lie outside the workspace.
    原始图像文件夹（包含子文件夹），可以位于工作区之外。"""

    LABELED_DIR: str = "data/labeled"
    """Folder of masks, with or without their images beside them.
    掩膜文件夹，图像可以放在旁边，也可以留在 RAW_DIRS 中。"""

    DATASETS_DIR: str = "datasets"
    """Folder of named data sets: NAME/raw_images with NAME/masks_3class.
    命名数据集文件夹：NAME/raw_images 与 NAME/masks_3class。"""

    CACHE_DIR: str = "cache"
    """Folder of decoded images; it can be deleted at any time.
    解码图像的缓存文件夹，可随时删除。"""

    CACHE_LIMIT_GB: Annotated[float, Field(ge=0)] = 20.0
    """Images beyond this much cache are decoded each time they are needed.
    缓存上限（GB）；超出部分每次使用时重新解码。"""

    MODEL_SAVE_DIR: str = "models/checkpoints"
    """Folder of trained models.
    模型保存文件夹。"""

    @field_validator("CLASS_NAMES", "COLOR_MAPPING")
    @classmethod
    def _one_per_class(cls, value: dict[int, Any], info: ValidationInfo) -> dict[int, Any]:
        count = info.data.get("NUM_CLASSES")
        if count is not None and sorted(value) != list(range(count)):
            raise ValueError(
                f"NUM_CLASSES = {count} asks for the ids {_ids(range(count))}, this has {_ids(sorted(value))}"
            )
        entries = list(value.values())
        if len(set(entries)) < len(entries):
            raise ValueError("two classes have the same entry; each needs its own")
        return value

    @field_validator("IGNORE_INDEX")
    @classmethod
    def _not_a_class(cls, value: int, info: ValidationInfo) -> int:
        count = info.data.get("NUM_CLASSES")
        if count is not None and value < count:
            raise ValueError(f"{value} is a class already (NUM_CLASSES = {count}); use an id above, usually 255")
        return value

    @field_validator("IGNORE_COLOR")
    @classmethod
    def _not_a_class_colour(cls, value: Colour, info: ValidationInfo) -> Colour:
        if value in info.data.get("COLOR_MAPPING", {}).values():
            raise ValueError("a class in COLOR_MAPPING has the same colour")
        return value

    @field_validator("MASK_VALUES")
    @classmethod
    def _to_classes(cls, value: dict[int, int], info: ValidationInfo) -> dict[int, int]:
        count, ignore = info.data.get("NUM_CLASSES"), info.data.get("IGNORE_INDEX")
        for level, id_ in value.items():
            if count is not None and id_ >= count and id_ != ignore:
                raise ValueError(f"grey level {level} is given the class {id_}, which does not exist")
        return value

    @field_validator("NORMALIZATION_WINDOW")
    @classmethod
    def _window_if_asked(cls, value: Range | None, info: ValidationInfo) -> Range | None:
        if value is None and info.data.get("NORMALIZATION") == "window":
            raise ValueError('NORMALIZATION = "window" needs it, e.g. NORMALIZATION_WINDOW = [0, 4095]')
        if value is not None and value[0] >= value[1]:
            raise ValueError("the first level must lie below the second")
        return value


class AugmentationConfig(_File):
    """How training crops are varied, so that the model does not learn accidents of a few images.

    训练时的数据增强；`srpu stats --show-augmentations` 可以画出效果。
    """

    FLIP: Switch = Switch(p=0.5)
    """Mirror left-right.
    左右翻转。"""

    FLIP_VERTICAL: Switch = Switch(p=0.5)
    """Mirror top-bottom. Turn off where "up" means something (layers on a substrate), together with ROTATE_90.
    上下翻转；上下方向有意义时（如基底上的涂层）请与 ROTATE_90 一起关闭。"""

    ROTATE_90: Switch = Switch(p=0.75)
    """Turn by 90, 180 or 270 degrees. Turn off where "up" means something (layers on a substrate).
    旋转 90、180 或 270 度；上下方向有意义时（如基底上的膜层）请关闭。"""

    ROTATE: Ranged = Ranged(p=0.5, range=(-45.0, 45.0))
    """Turn by any angle in degrees.
    任意角度旋转（度）。"""

    SCALE: Ranged = Ranged(p=0.5, range=(0.7, 1.4))
    """Enlarge by a factor.
    缩放倍数。"""

    GAIN: Ranged = Ranged(p=0.5, range=(0.7, 1.3))
    """Multiply the contrast, as the detector's gain does.
    对比度（探测器增益）。"""

    OFFSET: Ranged = Ranged(p=0.5, range=(-0.4, 0.4))
    """Add to the brightness, in units of the crop's standard deviation.
    亮度偏移（以裁剪块的标准差为单位）。"""

    GAMMA: Ranged = Ranged(p=0.5, range=(0.7, 1.4))
    """Bend the tone curve by this exponent.
    伽马校正指数。"""

    BLUR: Ranged = Ranged(p=0.2, range=(0.3, 1.5))
    """Defocus by a Gaussian of this many pixels.
    高斯模糊（像素）。"""

    NOISE: Ranged = Ranged(p=0.3, range=(0.0, 0.2))
    """Add noise of this many standard deviations of the crop.
    噪声（以裁剪块的标准差为单位）。"""

    @field_validator("SCALE", "GAIN", "GAMMA")
    @classmethod
    def _factor_above_zero(cls, value: Ranged) -> Ranged:
        if value.range[0] <= 0:
            raise ValueError(f"the lower end of the range is {value.range[0]:g}; a factor must be above 0")
        return value

    @field_validator("BLUR", "NOISE")
    @classmethod
    def _not_negative(cls, value: Ranged) -> Ranged:
        if value.range[0] < 0:
            raise ValueError(f"the lower end of the range is {value.range[0]:g}; it cannot be below 0")
        return value


class DatasetConfig(_File):
    """Which images are learned from, which are judged on, and how data sets are mixed.

    训练、验证、测试划分以及多数据集混合。
    """

    TRAIN_RATIO: Share = 0.7
    """Share of the labelled groups that is trained on.
    训练集占已标注组的比例。"""

    VAL_RATIO: Share = 0.2
    """Share of the labelled groups that models are chosen on.
    验证集占已标注组的比例，用于挑选模型。"""

    TEST_RATIO: Share = 0.1
    """Share of the labelled groups kept for the final score; under 30 groups there is no test split.
    测试集占已标注组的比例，留作最终评分；少于 30 组时不设测试集。"""

    SPLIT_SEED: Annotated[int, Field(ge=0)] = 42
    """Seed of the split, which is decided once and kept in json/splits.json.
    划分的随机种子；划分只做一次，保存在 json/splits.json。"""

    FOLDS: Annotated[int, Field(ge=0, le=50)] = 0
    """Cross-validation: `srpu train` trains this many models, each without another part of the specimens, and
    `srpu evaluate` judges every image by the model that has not seen it. Advisable with fewer than 15 specimens;
    0: off.
    交叉验证的折数：每幅图像由没有见过它的模型评估；样品少于 15 个时建议使用；0 表示关闭。"""

    GROUP_PATTERN: str | None = None
    """Regular expression whose first bracket names the specimen in an image's path, e.g. "(sample[0-9]+)_";
    images of one specimen never part. None: each image is its own group, but a stack or a numbered series whose
    neighbours look alike is one, cut into contiguous blocks with a gap between training and validation.
    正则表达式，第一个括号匹配图像路径中的样品名，例如 "(sample[0-9]+)_"；
    同一样品的图像不会被分到不同集合。None：每幅图像自成一组；
    但堆栈、以及相邻图像相似的编号系列各算一组，切成连续的几段，训练段与验证段之间留有间隔。"""

    SPLIT_FILE: str | None = None
    """A split fixed by hand: a JSON file {"train": [names], "val": [names], "test": [names]}; "FILE#KEY" takes
    the part under KEY. It wins over the ratios.
    手工指定的划分：JSON 文件 {"train": [名称], "val": [名称], "test": [名称]}；
    写成 "文件#键" 则取该键下的内容。优先于比例。"""

    DATASETS: list[str] | None = None
    """Names of the data sets to use; None: all that the index holds. What lies in LABELED_DIR is called
    "labeled".
    使用的数据集名称；None 表示索引中的全部。LABELED_DIR 中的数据集名为 "labeled"。"""

    DATASET_WEIGHTS: dict[str, Positive] = {}
    """How often each data set appears in a batch, e.g. {"labeled": 2, "other": 1}; those not named weigh 1.
    每个数据集在批次中出现的权重，例如 {"labeled": 2, "other": 1}；未列出的为 1。"""

    @field_validator("FOLDS")
    @classmethod
    def _more_than_one(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one fold leaves nothing to train on; 5 is usual, 0 turns cross-validation off")
        return value

    @field_validator("GROUP_PATTERN")
    @classmethod
    def _has_a_bracket(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
            if groups < 1:
                raise ValueError('needs one bracket around the specimen\'s name, e.g. "(sample[0-9]+)_"')
        return value

    @field_validator("TEST_RATIO")
    @classmethod
    def _ratios_sum_to_one(cls, value: float, info: ValidationInfo) -> float:
        train, val = info.data.get("TRAIN_RATIO"), info.data.get("VAL_RATIO")
        if train is not None and val is not None and abs(train + val + value - 1) > 1e-6:
            raise ValueError(f"TRAIN_RATIO + VAL_RATIO + TEST_RATIO is {train + val + value:g}; it must be 1")
        return value


class JsonConfig(_File):
    """Where the indices lie and what counts as the same picture twice.

    索引文件与重复图像检查。
    """

    JSON_DIR: str = "json"
    """Folder of the indices.
    索引文件夹。"""

    MASTER_LABELED_JSON: str = "json/master_labeled_dataset.json"
    """Index of every labelled image.
    全部已标注图像的索引。"""

    MASTER_UNLABELED_JSON: str = "json/master_unlabeled_dataset.json"
    """Index of every image without a mask.
    全部未标注图像的索引。"""

    SPLITS_JSON: str = "json/splits.json"
    """The split, decided once.
    数据划分文件；划分只做一次。"""

    NEAR_DUPLICATE_CORRELATION: Share = 0.6
    """Two images whose fine structure correlates above this, shifted, mirrored or turned as fits best, count as near
    duplicates. Different fields of one specimen stay below 0.5; neighbouring slices or the same field reach 0.75.
    两幅图像细微结构的相关系数（取最佳的平移、镜像、旋转）高于此值时视为近似重复；
    同一样品的不同视场低于 0.5，相邻切片或同一视场可达 0.75。"""


class WandbConfig(_File):
    """Weights & Biases, used when LOGGER = "wandb".

    LOGGER = "wandb" 时使用。
    """

    WANDB_PROJECT: str = "SRPU"
    """Project that runs appear under.
    运行记录所属的项目名称。"""

    WANDB_ENTITY: str | None = None
    """Team or user; None: your default.
    团队或用户名；None 表示您的默认值。"""

    WANDB_MODE: Literal["offline", "online"] = "offline"
    """"offline" needs no account and no internet; upload later with `wandb sync`.
    "offline" 不需要账号和网络，之后可用 `wandb sync` 上传。"""

    WANDB_TAGS: list[str] = []
    """Labels to find the run by.
    便于查找运行的标签。"""


class TrainConfig(_File):
    """How a model is trained (`srpu train`).

    训练设置。
    """

    NUM_EPOCHS: Count = 60
    """Epochs at most; validation follows each.
    最大训练轮数；每轮之后验证一次。"""

    STEPS_PER_EPOCH: Count | None = None
    """Batches in an epoch; None: as many crops as cover the labelled area once, at least 50 batches.
    每轮的批次数；None 表示裁剪块恰好覆盖标注面积一遍，但不少于 50 个批次。"""

    BATCH_SIZE: Count = 8
    """Crops in a batch; halve it when memory runs out.
    每个批次的裁剪块数；内存不足时减半。"""

    LEARNING_RATE: Positive = 1e-3
    """Step size of the optimiser at its highest.
    学习率的最大值。"""

    WEIGHT_DECAY: Annotated[float, Field(ge=0)] = 1e-2
    """Pull of the weights towards zero.
    权重衰减，把权重拉向零的强度。"""

    OPTIMIZER: Literal["AdamW", "SGD"] = "AdamW"
    """How weights are changed.
    优化器。"""

    LOSS_FUNCTION: Literal["CELoss", "DiceLoss", "DiceCELoss", "FocalLoss"] = "DiceCELoss"
    """What is made small: cross-entropy, Dice, their sum, or focal loss.
    损失函数：交叉熵、Dice、二者之和，或 focal loss。"""

    CLASS_WEIGHTS: list[Positive] | Literal["balanced"] | None = None
    """How much each class counts in the loss: None (by its pixels), "balanced" (rare classes count more), or one
    number per class.
    各类别在损失中的权重：None（按像素数）、"balanced"（稀少类别权重更大），或每个类别一个数。"""

    WARMUP_EPOCHS: Annotated[float, Field(ge=0)] = 1.0
    """Epochs over which the learning rate rises from zero, before it falls along a cosine.
    学习率从零升到最大值所用的轮数，此后按余弦下降。"""

    GRADIENT_CLIP: Annotated[float, Field(ge=0)] = 1.0
    """Longest gradient that is taken; 0: no limit.
    梯度裁剪的上限；0 表示不裁剪。"""

    EMA_DECAY: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """The model that is judged and kept is a running average of the weights with this decay per step; 0: the
    weights themselves.
    评估和保存的模型是权重的滑动平均，此为每步的衰减系数；0 表示直接用权重本身。"""

    EARLY_STOPPING_PATIENCE: Annotated[int, Field(ge=0)] = 15
    """Epochs without a better validation Dice after which training stops; 0: never.
    验证 Dice 多少轮不提高就停止；0 表示不提前停止。"""

    MAX_MINUTES: Positive | None = None
    """Training ends after this many minutes; the learning rate falls to zero by then.
    训练最长时间（分钟）；学习率会在此之前降到零。"""

    USE_PRETRAINED_MODEL: bool = False
    """Start from the model in PRETRAINED_MODEL_PATH.
    从 PRETRAINED_MODEL_PATH 的模型开始训练。"""

    PRETRAINED_MODEL_PATH: str | None = None
    """A whole trained model to start from, e.g. "models/checkpoints/train_resnet18_unet/best_model.pth"; None: none.
    作为起点的完整模型，例如 "models/checkpoints/train_resnet18_unet/best_model.pth"；None 表示不使用。"""

    PRETRAINED_ENCODER_PATH: str | None = None
    """An encoder to start from where no whole model is, e.g. what `srpu pretrain` wrote:
    "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"; None: none.
    没有完整模型时作为起点的编码器，例如 `srpu pretrain` 的结果：
    "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"；None 表示不使用。"""

    ON_MISSING_WEIGHTS: Literal["warn", "error"] = "warn"
    """When a named file of weights is not there: "warn" takes what comes next (model, encoder, random), "error" stops.
    A file that is there but does not fit always stops.
    指定的权重文件不存在时："warn" 给出警告并依次改用下一项（模型、编码器、随机），"error" 则停止；
    文件存在但不匹配时总是停止。"""

    FREEZE_ENCODER: bool = False
    """Leave the encoder as it is and train the rest.
    冻结编码器，只训练其余部分。"""

    UNFREEZE_EPOCH: Annotated[int, Field(ge=2)] | None = None
    """With FREEZE_ENCODER: the epoch from which the encoder is trained too; None: never.
    FREEZE_ENCODER 开启时，从第几轮开始同时训练编码器；None 表示始终冻结。"""

    ENCODER_LR_FACTOR: Annotated[float, Field(gt=0, le=10)] = 1.0
    """The encoder's learning rate is LEARNING_RATE times this.
    编码器的学习率为 LEARNING_RATE 乘以该系数。"""

    REPLAY_FRACTION: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of every batch that comes from the images that the model to start from was trained on, so that it does not
    forget them; they must be in the index, in other data sets than DATASETS or as older images of the same.
    每个批次中来自起点模型旧训练图像的比例，防止遗忘；这些图像必须在索引中
    （属于 DATASETS 之外的数据集，或同一数据集中较早的图像）。"""

    RUN_NAME: str | None = None
    """Name of the run's folder beside the time; None: the time alone.
    运行文件夹名中加在时间之后的名称；None 表示只用时间。"""

    @field_validator("RUN_NAME")
    @classmethod
    def _can_name_a_folder(cls, value: str | None) -> str | None:
        return _folder_name(value)


class SslConfig(_File):
    """How an encoder learns from images without masks (`srpu pretrain`).

    自监督预训练设置：编码器从没有掩膜的图像中学习。
    """

    METHOD: Literal["mae", "autoencoder"] = "mae"
    """What the network has to do:
    "mae": say what was in hidden patches of the image;
    "autoencoder": restore an image that was blurred, made coarse and noisy, with patches dropped.
    网络的学习任务：
    "mae"：补出图像中被遮住的小块；
    "autoencoder"：复原被模糊、降低分辨率、加噪声并丢掉部分小块的图像。"""

    MASK_RATIO: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """METHOD = "mae": the share of the patches that is hidden.
    METHOD = "mae" 时被遮住的小块所占的比例。"""

    PATCH_SIZE: Literal[4, 8, 16, 32] = 16
    """Edge in pixels of the patches that are hidden or dropped, about as large as the structures; vision transformers
    hide their own patches, of 16 pixels.
    被遮住或丢掉的小块的边长（像素），宜与图像中结构的大小相近；视觉 Transformer 使用自己的 16 像素小块。"""

    DEGRADE_BLUR: Ranged = Ranged(p=0.5, range=(0.5, 2.0))
    """METHOD = "autoencoder": blur by a Gaussian of this many pixels.
    METHOD = "autoencoder" 时的高斯模糊（像素）。"""

    DEGRADE_SHRINK: Ranged = Ranged(p=0.3, range=(2.0, 4.0))
    """METHOD = "autoencoder": make this many times coarser (a whole number is taken).
    METHOD = "autoencoder" 时降低分辨率的倍数（取整数）。"""

    DEGRADE_NOISE: Ranged = Ranged(p=0.8, range=(0.1, 0.6))
    """METHOD = "autoencoder": add noise of this many standard deviations of the crop.
    METHOD = "autoencoder" 时的噪声（以裁剪块的标准差为单位）。"""

    DROP_PATCHES: Ranged = Ranged(p=0.8, range=(0.1, 0.5))
    """METHOD = "autoencoder": the share of the patches that is dropped.
    METHOD = "autoencoder" 时丢掉的小块所占的比例。"""

    USE_LABELED_TRAINING_IMAGES: bool = True
    """Learn from the labelled training images too (not from their masks). Validation and test images never take part.
    同时使用已标注的训练图像（不使用掩膜）；验证集和测试集图像从不参与。"""

    HELD_OUT_SHARE: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """The share of the images, whole groups and at least one, that is not learned from: the best epoch is the one that
    restores them best.
    留出不参与学习的图像比例（按组，至少一幅）：复原它们最好的一轮即为最佳轮。"""

    NUM_EPOCHS: Count = 100
    """Epochs at most.
    最大训练轮数。"""

    STEPS_PER_EPOCH: Count | None = None
    """Batches in an epoch; None: as many crops as cover all images once, but 50 to 500 batches.
    每轮的批次数；None 表示裁剪块恰好覆盖全部图像一遍，但限于 50 到 500 个批次。"""

    BATCH_SIZE: Count = 16
    """Crops in a batch; halve it when memory runs out.
    每个批次的裁剪块数；内存不足时减半。"""

    LEARNING_RATE: Positive = 1e-3
    """Step size of the optimiser (AdamW) at its highest.
    学习率的最大值（优化器为 AdamW）。"""

    WEIGHT_DECAY: Annotated[float, Field(ge=0)] = 0.05
    """Pull of the weights towards zero.
    权重衰减，把权重拉向零的强度。"""

    WARMUP_EPOCHS: Annotated[float, Field(ge=0)] = 2.0
    """Epochs over which the learning rate rises from zero, before it falls along a cosine.
    学习率从零升到最大值所用的轮数，此后按余弦下降。"""

    GRADIENT_CLIP: Annotated[float, Field(ge=0)] = 1.0
    """Longest gradient that is taken; 0: no limit.
    梯度裁剪的上限；0 表示不裁剪。"""

    EMA_DECAY: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """The network that is judged and kept is a running average of the weights with this decay per step; 0: the
    weights themselves.
    评估和保存的网络是权重的滑动平均，此为每步的衰减系数；0 表示直接用权重本身。"""

    EARLY_STOPPING_PATIENCE: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better restoration of the held-out images after which training stops; 0: never.
    留出图像的复原效果多少轮不提高就停止；0 表示不提前停止。"""

    MAX_MINUTES: Positive | None = None
    """Training ends after this many minutes; the learning rate falls to zero by then.
    训练最长时间（分钟）；学习率会在此之前降到零。"""

    RUN_NAME: str | None = None
    """Name of the run's folder beside the time; None: the time alone.
    运行文件夹名中加在时间之后的名称；None 表示只用时间。"""

    @field_validator("DEGRADE_BLUR", "DEGRADE_SHRINK", "DEGRADE_NOISE", "DROP_PATCHES")
    @classmethod
    def _sensible(cls, value: Ranged, info: ValidationInfo) -> Ranged:
        if value.range[0] < 0:
            raise ValueError(f"the lower end of the range is {value.range[0]:g}; it cannot be below 0")
        if info.field_name == "DROP_PATCHES" and value.range[1] > 1:
            raise ValueError(f"the upper end of the range is {value.range[1]:g}; a share is at most 1")
        return value

    @field_validator("RUN_NAME")
    @classmethod
    def _can_name_a_folder(cls, value: str | None) -> str | None:
        return _folder_name(value)


class SslInspectConfig(_File):
    """How a pretrained encoder is looked at (`srpu inspect`).

    查看预训练效果的设置。
    """

    SSL_MODEL_PATH: str | None = None
    """The pretrained network, a best_ssl_model.pth; None: that of the last `srpu pretrain` that finished.
    预训练网络文件（best_ssl_model.pth）；None 表示最近一次完成的 `srpu pretrain` 的结果。"""

    INSPECT_DIR: str = "ssl_inspection"
    """Where reports go.
    报告文件夹。"""

    INSPECT_IMAGES: Count = 6
    """How many images the report shows.
    报告中展示的图像数。"""

    PROBE_PIXELS: Annotated[int, Field(ge=100)] = 10_000
    """Labelled pixels that the probes are fitted on, and as many that they are judged on.
    探针使用的标注像素数：拟合和评估各用这么多。"""

    NEIGHBOURS: Count = 20
    """How many nearest neighbours vote on a pixel's class.
    近邻探针中参与投票的邻居数。"""


class FinetuneConfig(TrainConfig):
    """How a trained model is adapted to new images (`srpu finetune`); the settings of training, gentler.

    微调设置：与训练设置相同，但更温和。
    """

    NUM_EPOCHS: Count = 30
    """Epochs at most; validation follows each.
    最大训练轮数；每轮之后验证一次。"""

    LEARNING_RATE: Positive = 3e-4
    """Step size of the optimiser at its highest.
    学习率的最大值。"""

    USE_PRETRAINED_MODEL: bool = True
    """Start from the model in PRETRAINED_MODEL_PATH.
    从 PRETRAINED_MODEL_PATH 的模型开始训练。"""


class MultistageTrainConfig(_File):
    """Training in stages, each from the best model of the one before (`srpu train-stages`).

    Values in train_config.py hold for every stage that does not say otherwise.

    多阶段训练：每个阶段从上一阶段的最佳模型开始（`srpu train-stages`）。
    各阶段没有写明的设置取自 train_config.py。
    """

    STAGES: list[dict[str, Any]] = [
        {"name": "all_data", "num_epochs": 40},
        {"name": "finer", "num_epochs": 20, "learning_rate": 2e-4, "warmup_epochs": 0},
    ]
    """The stages, in their order; each is a dictionary with a "name" and, where it differs, any of
    "datasets": names of data sets, e.g. ["labeled"], or ["synthetic"] for generated images;
    "train_json", "val_json": index files to take the training or validation images from instead;
    "pretrained_model_path", "pretrained_encoder_path": weights to start from instead of the stage before;
    "freeze_encoder" and every other setting of training, in lower case: "num_epochs", "batch_size", "learning_rate"
    (or "base_lr"), "loss_function", "crop_size", "flip" …
    各阶段，按顺序执行；每个阶段是一个字典，必须有 "name"，其余按需填写：
    "datasets"：数据集名称，例如 ["labeled"]；["synthetic"] 表示自动生成的图像；
    "train_json"、"val_json"：改用这些索引文件中的训练或验证图像；
    "pretrained_model_path"、"pretrained_encoder_path"：不从上一阶段、而从这些权重开始；
    "freeze_encoder" 以及其他任何训练设置（小写）："num_epochs"、"batch_size"、"learning_rate"
    （或 "base_lr"）、"loss_function"、"crop_size"、"flip" 等。"""

    SAVE_BEST_MODEL: bool = True
    """Also write each stage's best model to MODEL_SAVE_DIR/STAGE_best_model.pth.
    同时把每个阶段的最佳模型保存为 MODEL_SAVE_DIR/阶段名_best_model.pth。"""

    SAVE_LAST_MODEL: bool = False
    """Also write the model of each stage's last epoch to MODEL_SAVE_DIR/STAGE_last_model.pth.
    同时把每个阶段最后一轮的模型保存为 MODEL_SAVE_DIR/阶段名_last_model.pth。"""

    SAVE_CHECKPOINT: bool = True
    """Keep the state to resume from, also as MODEL_SAVE_DIR/STAGE_checkpoint.pth; without it `--resume` does not work.
    保留断点续训所需的状态，同时保存为 MODEL_SAVE_DIR/阶段名_checkpoint.pth；关闭后 `--resume` 不可用。"""

    @field_validator("STAGES")
    @classmethod
    def _at_least_one(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not value:
            raise ValueError('there is no stage; write one, e.g. [{"name": "all_data"}]')
        return value


class MultistageFinetuneConfig(MultistageTrainConfig):
    """Fine-tuning in stages, each from the best model of the one before (`srpu finetune-stages`).

    Values in finetune_config.py hold for every stage that does not say otherwise.

    多阶段微调：每个阶段从上一阶段的最佳模型开始（`srpu finetune-stages`）。
    各阶段没有写明的设置取自 finetune_config.py。
    """

    STAGES: list[dict[str, Any]] = [
        {"name": "decoder", "num_epochs": 10, "freeze_encoder": True},
        {"name": "whole_network", "num_epochs": 20, "learning_rate": 1e-4, "encoder_lr_factor": 0.3},
    ]
    """The stages, as in multistage_train_config.py. This example first adapts the decoder alone, then everything.
    各阶段，写法与 multistage_train_config.py 相同；此例先只调整解码器，再调整整个网络。"""


class StageConfig(_File):
    """What a stage of STAGES says besides training settings."""

    name: str
    train_json: str | None = None
    val_json: str | None = None
    pretrained_model_path: str | None = None
    pretrained_encoder_path: str | None = None

    @field_validator("name")
    @classmethod
    def _can_name_files(cls, value: str) -> str:
        if value.startswith(".") or value != value.strip(" ."):
            raise ValueError("it names files, so it cannot begin with a dot or end with a dot or a space")
        _folder_name(value)
        return value


class Strategy(_File):
    """One way to tell which images are worth a label: is it on, and how much does it count."""

    enabled: bool = True
    weight: Annotated[float, Field(ge=0)] = 1.0
    description: str = ""


def weights(strategies: Mapping[str, Strategy]) -> dict[str, float]:
    """What each strategy that is on counts; those that count nothing are left out."""
    return {name: one.weight for name, one in strategies.items() if one.enabled and one.weight}


class PredictionMasks(_File):
    """What is drawn of the model's predictions for the images that are asked for."""

    generate_prediction_masks: bool = True
    save_colored_masks: bool = True
    output_dir: str = "active_learning_predictions"


class RoundTraining(_File):
    """How the model of a round is trained; the names mean what they mean in train_config.py."""

    num_epochs_per_round: Count = 100
    steps_per_epoch: Count | None = None
    batch_size: Count = 8
    learning_rate: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    optimizer: Literal["AdamW", "SGD"] = "AdamW"
    loss_function: Literal["CELoss", "DiceLoss", "DiceCELoss", "FocalLoss"] = "DiceCELoss"
    class_weights: list[Positive] | Literal["balanced"] | None = None
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    early_stopping_patience: Annotated[int, Field(ge=0)] = 15
    max_minutes: Positive | None = None
    encoder_lr_factor: Annotated[float, Field(gt=0, le=10)] = 1.0
    freeze_encoder: bool = False
    unfreeze_epoch: Annotated[int, Field(ge=2)] | None = None
    warm_start: bool = False


class ActiveLearningConfig(_File):
    """Rounds of active learning (`srpu active`): train, ask for the masks that help most, take them in.

    主动学习设置：训练、挑选最值得标注的图像、收回修改好的掩膜，如此循环。
    """

    EXAMPLE: ClassVar[str] = """\
One image per round, in many short rounds: remove the # of these lines.
每轮只标注一幅图像、进行多轮短训练：去掉下面各行的 #。
NUM_ITERATIONS = 20
SAMPLES_PER_ITER = 1
NUM_EPOCHS_PER_ITER = 10"""

    INITIAL_LABELED_SIZE: Annotated[int, Field(ge=0)] = 50
    """Labelled training images that should be there before the first round. With fewer, the first round says so and
    goes on, or with COLD_START asks for the missing ones.
    第一轮之前应有的已标注训练图像数；不足时第一轮会提示并继续，若 COLD_START = True 则先请求标注缺少的图像。"""

    BATCH_SIZE_TO_LABEL: Count = 20
    """How many images, or regions, a round asks for.
    每轮请求标注的图像（或区域）数。"""

    MAX_ACTIVE_LEARNING_ROUNDS: Count = 10
    """Rounds at most.
    最多进行的轮数。"""

    MIN_IMPROVEMENT_THRESHOLD: Share = 0.01
    """The rounds end when even the upper end of the gain in mean Dice over the last PATIENCE rounds lies below this;
    never with fewer than 5 validation groups.
    最近 PATIENCE 轮平均 Dice 提升的区间上限仍低于该值时停止；验证组少于 5 个时不据此停止。"""

    PATIENCE: Count = 5
    """Over how many rounds the gain is looked at.
    考察提升幅度所用的轮数。"""

    LABEL_BUDGET: Count | None = None
    """The rounds end when so many answers were taken in; None: no limit.
    收到这么多个标注后停止；None 表示不限。"""

    TARGET_SCORE: Share | None = None
    """The rounds end when the mean Dice on the validation images reaches this; None: no target.
    验证平均 Dice 达到该值后停止；None 表示不设目标。"""

    COLD_START: bool = False
    """With fewer than INITIAL_LABELED_SIZE labelled images, ask for the missing ones first: typical and different
    images, which needs no trained model.
    已标注图像少于 INITIAL_LABELED_SIZE 时，先请求标注缺少的图像：选择典型且互不相同的图像，不需要训练好的模型。"""

    VALIDATION_SIZE: Annotated[int, Field(ge=0)] = 5
    """With COLD_START and without validation images: how many are drawn at random, to be labelled for validation.
    COLD_START = True 且没有验证图像时，随机抽取多少幅图像标注后用于验证。"""

    QUERY: Literal["image", "region"] = "image"
    """What is asked for: whole images, or windows of REGION_SIZE in them. The rest of an image stays "not labelled".
    请求标注的单位：整幅图像（"image"），或图像中边长为 REGION_SIZE 的窗口（"region"）；窗口之外保持"未标注"。"""

    REGION_SIZE: Annotated[int, Field(ge=16)] = 256
    """Edge of a window in pixels.
    窗口的边长（像素）。"""

    REGION_SIZE_NM: Positive | None = None
    """Edge of a window in nanometres, for images whose pixel size is known; None: REGION_SIZE.
    窗口的边长（纳米），用于已知像素尺寸的图像；None 表示使用 REGION_SIZE。"""

    REGION_CONTEXT: Annotated[int, Field(ge=0)] = 64
    """Pixels around a window that are shown with it, and not labelled.
    窗口四周一并显示、但不标注的像素数。"""

    UNCERTAINTY_STRATEGIES: dict[str, Strategy] = {
        "entropy": Strategy(description="Entropy of the class probabilities 类别概率的熵"),
        "confidence": Strategy(description="The best class is not probable 最可能类别的概率低"),
        "margin": Strategy(description="How close the second class comes 前两类概率接近"),
        "boundary": Strategy(enabled=False, description="Entropy near predicted boundaries 预测边界附近的熵"),
        "ensemble": Strategy(enabled=False, description="How much several models disagree 多个模型的分歧"),
    }
    """How unsure the model is about an image, each way with its weight; all together they count 1 in the mix. A
    function in utils/uncertainty_util.py is switched on by its name here.
    模型对图像的不确定程度的各种度量及其权重，合计在综合得分中占 1；
    utils/uncertainty_util.py 中的自定义函数也按名称写在这里。"""

    DIVERSITY_STRATEGIES: dict[str, Strategy] = {
        "core_set": Strategy(weight=0.5, description="Far from all that is labelled 远离已标注的图像"),
        "cluster_based": Strategy(weight=0.3, description="Typical of many images 能代表许多图像"),
    }
    """How different the chosen images are from the labelled ones and from each other, each way with its weight beside
    the 1 of uncertainty.
    所选图像彼此之间、与已标注图像之间的差异的度量及其权重（不确定程度合计为 1）。"""

    BALANCE_CLASSES: bool = True
    """Prefer images on which the model finds rare classes; it counts 0.5 in the mix.
    优先选择模型预测含有稀少类别的图像；在综合得分中占 0.5。"""

    EXPLORATION: Annotated[float, Field(ge=0)] = 1.0
    """How much chance the first rounds have in the choice; it fades until the last round. 0: none.
    前几轮选择中的随机程度，到最后一轮逐渐减为零；0 表示没有随机性。"""

    ENSEMBLE_SIZE: Annotated[int, Field(ge=2)] | None = None
    """For "ensemble": train so many models in each round; None: the models of the last three promoted rounds, mirrored.
    用于 "ensemble"：每轮训练这么多个模型；None 表示使用最近三个被采用轮次的模型及其镜像预测。"""

    MAX_CLASS_LOSS: Share = 0.01
    """A new model is not taken if a class surely loses more Dice than this on the validation images.
    若某一类别的验证 Dice 确实下降超过该值，新模型不被采用。"""

    TRAINING_CONFIG: RoundTraining = RoundTraining()
    """How each round trains; "warm_start": True goes on from the last promoted model.
    每轮的训练设置；"warm_start": True 表示从上一个被采用的模型继续训练。"""

    PREDICTION_MASK_CONFIG: PredictionMasks = PredictionMasks()
    """The predicted masks of the images that are asked for.
    请求标注的图像的预测掩膜。"""

    USE_PRETRAINED_MODEL: bool = False
    """Start rounds from the model in PRETRAINED_MODEL_PATH; with "warm_start" only the first.
    各轮从 PRETRAINED_MODEL_PATH 的模型开始训练；"warm_start" 为 True 时只有第一轮如此。"""

    PRETRAINED_MODEL_PATH: str | None = None
    """A whole trained model to start from; None: none.
    作为起点的完整模型；None 表示不使用。"""

    PRETRAINED_ENCODER_PATH: str | None = None
    """An encoder to start from, e.g. "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"; None: none.
    作为起点的编码器，例如 "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"；None 表示不使用。"""

    CORRECTED_DIR: str = "active_learning/corrected"
    """Corrected masks are looked for here, in the round's own folder to copy, and in LABELED_DIR.
    在此文件夹、每轮的待标注文件夹以及 LABELED_DIR 中查找修改好的掩膜。"""

    POLL_SECONDS: Positive = 10.0
    """How often `srpu active run` looks for corrected masks while it waits.
    `srpu active run` 等待时检查一次修改好的掩膜的间隔（秒）。"""

    ANNOTATOR: str | None = None
    """Who corrects the masks, for the record; None: your login name.
    标注者姓名（记录用）；None 表示登录用户名。"""

    SCORING_BATCH_SIZE: Count = 1
    """Tiles that are computed at once while the pool is looked through; more can be faster on a GPU.
    给图像池打分时同时计算的图块数；使用 GPU 时可适当增大。"""

    @field_validator("UNCERTAINTY_STRATEGIES")
    @classmethod
    def _one_is_on(cls, value: dict[str, Strategy]) -> dict[str, Strategy]:
        if not weights(value):
            raise ValueError("none is on; enable one, or nothing tells which images to ask for")
        return value

    @field_validator("DIVERSITY_STRATEGIES")
    @classmethod
    def _known_diversity(cls, value: dict[str, Strategy]) -> dict[str, Strategy]:
        if unknown := sorted(set(value) - {"core_set", "cluster_based"}):
            raise ValueError(f'there is no {unknown[0]}; there are "core_set" and "cluster_based"')
        return value


class InferenceConfig(_File):
    """How images are segmented (`srpu predict`).

    预测设置。
    """

    CHECKPOINT_PATH: str | None = None
    """The model; None: the newest best model in MODEL_SAVE_DIR.
    模型文件；None 表示最新的最佳模型。"""

    INPUT_DIR: str = "data/inference/input"
    """Images to segment: a folder or one file.
    待预测的图像文件夹或文件。"""

    OUTPUT_DIR: str = "data/inference/output"
    """Where the results go.
    结果文件夹。"""

    BATCH_SIZE: Count = 1
    """Tiles that are computed at once; more can be faster on a GPU.
    同时计算的图块数；使用 GPU 时可适当增大。"""

    FLIP_AVERAGING: bool = False
    """Average over four mirror images: a little better, four times slower; not where "up" means something (layers).
    翻转平均：略好，但慢四倍；上下方向有意义时（涂层）请勿使用。"""

    MIN_SPECK_PIXELS: Annotated[int, Field(ge=0)] = 0
    """Connected regions smaller than this are given to the class around them; 0: keep all.
    小于该像素数的孤立区域并入周围类别；0 表示不处理。"""

    MIN_HOLE_PIXELS: Annotated[int, Field(ge=0)] = 0
    """Holes smaller than this inside one class are filled; 0: keep all.
    小于该像素数的孔洞被填充；0 表示不处理。"""

    MASK_FORMAT: Literal["png", "tiff"] = "png"
    """File format of predicted masks; stacks are always TIFF.
    预测掩膜的文件格式；堆栈总是 TIFF。"""

    SAVE_COLORED: bool = True
    """Also write the mask in colours (RGB).
    同时保存彩色掩膜。"""

    SAVE_OVERLAY: bool = True
    """Also write the image with the mask laid over it.
    同时保存叠加图。"""

    SAVE_PROBABILITIES: bool = False
    """Also write the probability of each class, calibrated on the validation images, as a multi-page TIFF.
    同时保存各类别的概率（多页 TIFF，已用验证图像校准）。"""

    SAVE_UNCERTAINTY: bool = False
    """Also write how unsure the model is, from 0 (black) to 1 (white).
    同时保存不确定度图，0（黑）到 1（白）。"""


class EvaluationConfig(_File):
    """How a model is judged (`srpu evaluate`).

    评估设置。
    """

    CHECKPOINT_PATH: str | None = None
    """The model; None: the newest best model in MODEL_SAVE_DIR.
    模型文件；None 表示最新的最佳模型。"""

    EVALUATION_SPLIT: Literal["val", "test", "train", "all"] = "val"
    """Which images to judge on. Decide on "val"; open "test" once, at the end.
    在哪些图像上评估。平时用 "val" 做决定；"test" 只在最后打开一次。"""

    PREDICTIONS_DIR: str | None = None
    """Score the masks in this folder (another tool's, another person's) instead of a model's.
    评估该文件夹中的掩膜（其他软件或其他人做的），而不是模型的预测。"""

    EVALUATION_DIR: str = "evaluation_results"
    """Where reports go.
    报告文件夹。"""

    BATCH_SIZE: Count = 1
    """Tiles that are computed at once; more can be faster on a GPU.
    同时计算的图块数；使用 GPU 时可适当增大。"""

    FLIP_AVERAGING: bool = False
    """Average over four mirror images; not where "up" means something (layers).
    对四个镜像的预测取平均；上下方向有意义时（涂层）请勿使用。"""

    BOUNDARY_TOLERANCE: Positive = 2.0
    """Boundary F1 counts a boundary pixel as found if the other mask's boundary lies within this many pixels.
    边界 F1 的容差（像素）：另一掩膜的边界在此距离之内，就算找到。"""

    FOREGROUND_CLASSES: list[int] = []
    """Classes judged together against the rest as one more score ("foreground IoU"), e.g. [1, 2]; empty:
    none.
    合并为一类、与其余部分对比评估的类别（“前景 IoU”），例如 [1, 2]；留空表示不计算。"""

    WORST_CASES: Annotated[int, Field(ge=0)] = 6
    """How many of the worst images the report shows first.
    报告中优先展示的最差图像数。"""


class Settings(WandbConfig, JsonConfig, DatasetConfig, AugmentationConfig, BaseConfig):
    """What every verb knows."""


class TrainSettings(TrainConfig, Settings):
    """What training knows."""

    @field_validator("CLASS_WEIGHTS")
    @classmethod
    def _one_weight_per_class(cls, value: Any, info: ValidationInfo) -> Any:
        count = info.data.get("NUM_CLASSES")
        if isinstance(value, list) and count is not None and len(value) != count:
            raise ValueError(f"{len(value)} weights for NUM_CLASSES = {count}; give one per class")
        return value


class FinetuneSettings(FinetuneConfig, TrainSettings):
    """What fine-tuning knows."""


class TrainStagesSettings(MultistageTrainConfig, TrainSettings):
    """What training in stages knows."""


class FinetuneStagesSettings(MultistageFinetuneConfig, FinetuneSettings):
    """What fine-tuning in stages knows."""


class PretrainSettings(SslConfig, Settings):
    """What pretraining without masks knows."""


class InspectSettings(SslInspectConfig, Settings):
    """What looking at a pretrained encoder knows."""


class InferenceSettings(InferenceConfig, Settings):
    """What prediction knows."""


class ActiveLearningSettings(ActiveLearningConfig, Settings):
    """What active learning knows."""

    @field_validator("TRAINING_CONFIG")
    @classmethod
    def _one_weight_per_class(cls, value: RoundTraining, info: ValidationInfo) -> RoundTraining:
        count = info.data.get("NUM_CLASSES")
        if isinstance(value.class_weights, list) and count is not None and len(value.class_weights) != count:
            raise ValueError(f"{len(value.class_weights)} class_weights for NUM_CLASSES = {count}; give one per class")
        return value


class EvaluationSettings(EvaluationConfig, Settings):
    """What evaluation knows."""

    @field_validator("FOREGROUND_CLASSES")
    @classmethod
    def _classes_exist(cls, value: list[int], info: ValidationInfo) -> list[int]:
        count = info.data.get("NUM_CLASSES")
        wrong = [id_ for id_ in value if count is not None and not 0 <= id_ < count]
        if wrong:
            raise ValueError(f"there is no class {wrong[0]} (NUM_CLASSES = {count})")
        return value


FILES: dict[str, type[_File]] = {
    "base.py": BaseConfig,
    "augmentation_config.py": AugmentationConfig,
    "dataset_config.py": DatasetConfig,
    "json_config.py": JsonConfig,
    "wandb_config.py": WandbConfig,
    "train/train_config.py": TrainConfig,
    "train/multistage_train_config.py": MultistageTrainConfig,
    "finetune/finetune_config.py": FinetuneConfig,
    "finetune/multistage_finetune_config.py": MultistageFinetuneConfig,
    "selfup/ssl_config.py": SslConfig,
    "selfup/ssl_inspect_config.py": SslInspectConfig,
    "active_learning/active_learning_config.py": ActiveLearningConfig,
    "inference/inference_config.py": InferenceConfig,
    "inference/evaluation_config.py": EvaluationConfig,
}
"""Each file of ``configs/`` and the class that checks it."""

TASKS: dict[str, tuple[type[Settings], tuple[str, ...]]] = {
    "index": (Settings, ()),
    "train": (TrainSettings, ("train/train_config.py",)),
    "train-stages": (TrainStagesSettings, ("train/train_config.py", "train/multistage_train_config.py")),
    "finetune": (FinetuneSettings, ("finetune/finetune_config.py",)),
    "finetune-stages": (
        FinetuneStagesSettings,
        ("finetune/finetune_config.py", "finetune/multistage_finetune_config.py"),
    ),
    "pretrain": (PretrainSettings, ("selfup/ssl_config.py",)),
    "inspect": (InspectSettings, ("selfup/ssl_inspect_config.py",)),
    "active": (ActiveLearningSettings, ("active_learning/active_learning_config.py",)),
    "predict": (InferenceSettings, ("inference/inference_config.py",)),
    "evaluate": (EvaluationSettings, ("inference/evaluation_config.py",)),
}
"""For each task: what it knows, and its own config files, the strongest last. Verbs that only look at data share those
of "index"."""

STAGE_SETTINGS = (
    {*TrainConfig.model_fields, *AugmentationConfig.model_fields, "DATASETS", "DATASET_WEIGHTS", "CROP_SIZE", "SEED"}
    - {"USE_PRETRAINED_MODEL", "PRETRAINED_MODEL_PATH", "PRETRAINED_ENCODER_PATH", "RUN_NAME"}
)  # fmt: skip
"""What a stage may set, in lower case; all else holds for all stages alike."""

STAGE_ALIASES = {"base_lr": "learning_rate", "image_size": "crop_size"}
"""Other names of keys of a stage."""

ACTIVE_ALIASES = {
    "NUM_ITERATIONS": "MAX_ACTIVE_LEARNING_ROUNDS",
    "SAMPLES_PER_ITER": "BATCH_SIZE_TO_LABEL",
    "UNCERTAINTY_METHODS": "UNCERTAINTY_STRATEGIES",
    "NUM_EPOCHS_PER_ITER": "TRAINING_CONFIG.num_epochs_per_round",
    "BATCH_SIZE": "TRAINING_CONFIG.batch_size",
    "LEARNING_RATE": "TRAINING_CONFIG.learning_rate",
}
"""Short names of active learning's settings."""

ALIASES = {"IMAGE_SIZE": "CROP_SIZE"}
"""Old names that are still read, with a sentence that says so."""


def _folder_name(value: str | None) -> str | None:
    if value is not None and (not value.strip() or re.search(r'[\\/:*?"<>|]', value)):
        raise ValueError('it names a folder, so it cannot be empty or hold any of \\ / : * ? " < > |')
    return value


def _ids(ids: Any) -> str:
    return ", ".join(map(str, ids))
