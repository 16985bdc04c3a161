"""Settings that every task shares: classes, model, device, folders.

所有任务共用的设置：类别、模型、设备、文件夹。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# How many classes the masks hold.
# 掩膜中的类别数。
NUM_CLASSES = 3

# The name of each class id, from 0 to NUM_CLASSES - 1.
# 每个类别编号的名称，编号从 0 到 NUM_CLASSES - 1。
CLASS_NAMES = {
    0: "carbon",
    1: "SE",
    2: "AM",
}

# The colour of each class id in masks and pictures, as [red, green, blue] from 0 to 255.
# 每个类别在掩膜和图片中的颜色，[红, 绿, 蓝]，0 到 255。
COLOR_MAPPING = {
    0: [0, 0, 255],
    1: [0, 255, 255],
    2: [255, 126, 126],
}

# The id that means "not labelled" in mask files; such pixels are neither trained on, judged nor counted.
# 掩膜文件中表示"未标注"的编号；这些像素不参与训练、评估和统计。
IGNORE_INDEX = 255

# The colour that means "not labelled" in coloured masks.
# 彩色掩膜中表示"未标注"的颜色。
IGNORE_COLOR = [0, 0, 0]

# For masks of grey levels: which level is which class, e.g. {0: 0, 127: 1, 255: 2}.
# Empty: the levels are class ids.
# 灰度掩膜中灰度值与类别的对应关系，例如 {0: 0, 127: 1, 255: 2}；
# 留空表示灰度值就是类别编号。
MASK_VALUES = {}

# The part of the network that reads the image: "unet", "resnet18", "resnet50", "efficientnet_b0" …
# "efficientnet_b7", "dinov2_vits14", or any feature extractor of the timm library.
# 编码器，即网络中提取图像特征的部分："unet"、"resnet18"、"resnet50"、"efficientnet_b0" …
# "efficientnet_b7"、"dinov2_vits14"，或 timm 库中任意的特征提取网络。
ENCODER_NAME = "resnet18"

# The part of the network that draws the mask: "unet", "unetplusplus", "deeplabv3plus" and more.
# 解码器，即网络中由特征生成掩膜的部分："unet"、"unetplusplus"、"deeplabv3plus" 等。
DECODER_NAME = "unet"

# Where the encoder starts: None (random), "imagenet" or a timm tag (needs internet), or the path of a
# weights file.
# 编码器的初始权重：None（随机）、"imagenet" 或 timm 标签（需要联网），或权重文件路径。
ENCODER_WEIGHTS = None

# How grey levels are made comparable:
# "zscore": each image gets mean 0 and deviation 1;
# "percentile": each image's 1st to 99th percentile becomes 0 to 1;
# "window": NORMALIZATION_WINDOW becomes 0 to 1;
# "dataset": the training set's mean and deviation become 0 and 1;
# "none": the whole range of the file's number type becomes 0 to 1.
# 灰度归一化方式：
# "zscore"：每幅图像的均值变为 0、标准差变为 1；
# "percentile"：每幅图像的第 1 到第 99 百分位变为 0 到 1；
# "window"：NORMALIZATION_WINDOW 的范围变为 0 到 1；
# "dataset"：整个训练集的均值变为 0、标准差变为 1；
# "none"：文件数值类型的全部范围变为 0 到 1。
NORMALIZATION = "zscore"

# For NORMALIZATION = "window": the grey levels that become 0 and 1, e.g. [0, 4095].
# NORMALIZATION = "window" 时映射到 0 和 1 的两个灰度值，例如 [0, 4095]。
NORMALIZATION_WINDOW = None

# Rows at the bottom that hold the microscope's data bar: 0, a number, or "auto" (searched in each image).
# They are left out of statistics, training, scores and area fractions; files are never changed.
# 图像底部信息栏的行数：0、具体行数或 "auto"（逐幅自动识别）；
# 这些行不参与统计、训练、评分和面积计算，图像文件本身不会被改动。
DATABAR_ROWS = 0

# Edge of a pixel in nanometres, for images whose file does not tell it.
# 像素边长（纳米），用于文件中没有该信息的图像。
PIXEL_SIZE_NM = None

# Edge in pixels of the crops that the network is trained on, a multiple of 32. Images are never resized.
# (IMAGE_SIZE, the old name, is read as this.)
# 训练裁剪块的边长（像素），须为 32 的倍数；图像不会被缩放。旧名称 IMAGE_SIZE 也会按此读取。
CROP_SIZE = 256

# The network sees the image this many times smaller and its answer is enlarged again: 2 or 4 where structures are
# large or only their surroundings tell what they are (layers, big particles), with CROP_SIZE as many times larger.
# Details finer than this many pixels are lost.
# 网络先把图像缩小这么多倍再处理，结果再放大回原尺寸：结构较大、或需要看到周围环境才能判断时（涂层、大颗粒）
# 设为 2 或 4，同时把 CROP_SIZE 增大同样的倍数；小于该像素数的细节会丢失。
SHRINK = 1

# Longest edge in pixels of the overlapping tiles that large images are predicted in, a multiple of 32; halve it
# when memory runs out.
# 预测大图时重叠图块的最大边长（像素），须为 32 的倍数；内存不足时减半。
TILE_SIZE = 1024

# Share of a tile's edge that it has in common with its neighbour.
# 相邻图块的重叠部分占图块边长的比例。
TILE_OVERLAP = 0.125

# Where to compute: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
# 计算设备："auto"（有 GPU 就用 GPU）、"cpu"、"cuda"、"cuda:1"、"mps"。
DEVICE = "auto"

# Number format of the computation; "auto" takes bf16 where the hardware computes it fast.
# 计算精度；"auto" 在硬件支持时使用 bf16。
PRECISION = "auto"

# The same seed, data and machine give the same model.
# 随机种子；种子、数据和机器都相同，得到的模型就相同。
SEED = 42

# Where training curves go.
# 训练曲线记录到哪里。
LOGGER = "tensorboard"

# Folders of images, read with all their sub-folders; they may lie outside the workspace.
# 原始图像文件夹（包含子文件夹），可以位于工作区之外。
RAW_DIRS = ["data/raw"]

# Folder of masks, with or without their images beside them.
# 掩膜文件夹，图像可以放在旁边，也可以留在 RAW_DIRS 中。
LABELED_DIR = "data/labeled"

# Folder of named data sets: NAME/raw_images with NAME/masks_3class.
# 命名数据集文件夹：NAME/raw_images 与 NAME/masks_3class。
DATASETS_DIR = "datasets"

# Folder of decoded images; it can be deleted at any time.
# 解码图像的缓存文件夹，可随时删除。
CACHE_DIR = "cache"

# Images beyond this much cache are decoded each time they are needed.
# 缓存上限（GB）；超出部分每次使用时重新解码。
CACHE_LIMIT_GB = 20.0

# Folder of trained models.
# 模型保存文件夹。
MODEL_SAVE_DIR = "models/checkpoints"
