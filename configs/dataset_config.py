"""Which images are learned from, which are judged on, and how data sets are mixed.

训练、验证、测试划分以及多数据集混合。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# Share of the labelled groups that is trained on.
# 训练集占已标注组的比例。
TRAIN_RATIO = 0.7

# Share of the labelled groups that models are chosen on.
# 验证集占已标注组的比例，用于挑选模型。
VAL_RATIO = 0.2

# Share of the labelled groups kept for the final score; under 30 groups there is no test split.
# 测试集占已标注组的比例，留作最终评分；少于 30 组时不设测试集。
TEST_RATIO = 0.1

# Seed of the split, which is decided once and kept in json/splits.json.
# 划分的随机种子；划分只做一次，保存在 json/splits.json。
SPLIT_SEED = 42

# Cross-validation: `srpu train` trains this many models, each without another part of the specimens, and
# `srpu evaluate` judges every image by the model that has not seen it. Advisable with fewer than 15 specimens;
# 0: off.
# 交叉验证的折数：每幅图像由没有见过它的模型评估；样品少于 15 个时建议使用；0 表示关闭。
FOLDS = 0

# Regular expression whose first bracket names the specimen in an image's path, e.g. "(sample[0-9]+)_";
# images of one specimen never part. None: each image is its own group, but a stack or a numbered series whose
# neighbours look alike is one, cut into contiguous blocks with a gap between training and validation.
# 正则表达式，第一个括号匹配图像路径中的样品名，例如 "(sample[0-9]+)_"；
# 同一样品的图像不会被分到不同集合。None：每幅图像自成一组；
# 但堆栈、以及相邻图像相似的编号系列各算一组，切成连续的几段，训练段与验证段之间留有间隔。
GROUP_PATTERN = None

# A split fixed by hand: a JSON file {"train": [names], "val": [names], "test": [names]}; "FILE#KEY" takes
# the part under KEY. It wins over the ratios.
# 手工指定的划分：JSON 文件 {"train": [名称], "val": [名称], "test": [名称]}；
# 写成 "文件#键" 则取该键下的内容。优先于比例。
SPLIT_FILE = None

# Names of the data sets to use; None: all that the index holds. What lies in LABELED_DIR is called
# "labeled".
# 使用的数据集名称；None 表示索引中的全部。LABELED_DIR 中的数据集名为 "labeled"。
DATASETS = None

# How often each data set appears in a batch, e.g. {"labeled": 2, "other": 1}; those not named weigh 1.
# 每个数据集在批次中出现的权重，例如 {"labeled": 2, "other": 1}；未列出的为 1。
DATASET_WEIGHTS = {}
