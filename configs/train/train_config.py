"""How a model is trained (`srpu train`).

训练设置。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# Epochs at most; validation follows each.
# 最大训练轮数；每轮之后验证一次。
NUM_EPOCHS = 60

# Batches in an epoch; None: as many crops as cover the labelled area once, at least 50 batches.
# 每轮的批次数；None 表示裁剪块恰好覆盖标注面积一遍，但不少于 50 个批次。
STEPS_PER_EPOCH = None

# Crops in a batch; halve it when memory runs out.
# 每个批次的裁剪块数；内存不足时减半。
BATCH_SIZE = 8

# Step size of the optimiser at its highest.
# 学习率的最大值。
LEARNING_RATE = 0.001

# Pull of the weights towards zero.
# 权重衰减，把权重拉向零的强度。
WEIGHT_DECAY = 0.01

# How weights are changed.
# 优化器。
OPTIMIZER = "AdamW"

# What is made small: cross-entropy, Dice, their sum, or focal loss.
# 损失函数：交叉熵、Dice、二者之和，或 focal loss。
LOSS_FUNCTION = "DiceCELoss"

# How much each class counts in the loss: None (by its pixels), "balanced" (rare classes count more), or one
# number per class.
# 各类别在损失中的权重：None（按像素数）、"balanced"（稀少类别权重更大），或每个类别一个数。
CLASS_WEIGHTS = None

# Epochs over which the learning rate rises from zero, before it falls along a cosine.
# 学习率从零升到最大值所用的轮数，此后按余弦下降。
WARMUP_EPOCHS = 1.0

# Longest gradient that is taken; 0: no limit.
# 梯度裁剪的上限；0 表示不裁剪。
GRADIENT_CLIP = 1.0

# The model that is judged and kept is a running average of the weights with this decay per step; 0: the
# weights themselves.
# 评估和保存的模型是权重的滑动平均，此为每步的衰减系数；0 表示直接用权重本身。
EMA_DECAY = 0.99

# Epochs without a better validation Dice after which training stops; 0: never.
# 验证 Dice 多少轮不提高就停止；0 表示不提前停止。
EARLY_STOPPING_PATIENCE = 15

# Training ends after this many minutes; the learning rate falls to zero by then.
# 训练最长时间（分钟）；学习率会在此之前降到零。
MAX_MINUTES = None

# Start from the model in PRETRAINED_MODEL_PATH.
# 从 PRETRAINED_MODEL_PATH 的模型开始训练。
USE_PRETRAINED_MODEL = False

# A whole trained model to start from, e.g. "models/checkpoints/train_resnet18_unet/best_model.pth"; None: none.
# 作为起点的完整模型，例如 "models/checkpoints/train_resnet18_unet/best_model.pth"；None 表示不使用。
PRETRAINED_MODEL_PATH = None

# An encoder to start from where no whole model is, e.g. what `srpu pretrain` wrote:
# "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"; None: none.
# 没有完整模型时作为起点的编码器，例如 `srpu pretrain` 的结果：
# "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"；None 表示不使用。
PRETRAINED_ENCODER_PATH = None

# When a named file of weights is not there: "warn" takes what comes next (model, encoder, random), "error" stops.
# A file that is there but does not fit always stops.
# 指定的权重文件不存在时："warn" 给出警告并依次改用下一项（模型、编码器、随机），"error" 则停止；
# 文件存在但不匹配时总是停止。
ON_MISSING_WEIGHTS = "warn"

# Leave the encoder as it is and train the rest.
# 冻结编码器，只训练其余部分。
FREEZE_ENCODER = False

# With FREEZE_ENCODER: the epoch from which the encoder is trained too; None: never.
# FREEZE_ENCODER 开启时，从第几轮开始同时训练编码器；None 表示始终冻结。
UNFREEZE_EPOCH = None

# The encoder's learning rate is LEARNING_RATE times this.
# 编码器的学习率为 LEARNING_RATE 乘以该系数。
ENCODER_LR_FACTOR = 1.0

# Share of every batch that comes from the images that the model to start from was trained on, so that it does not
# forget them; they must be in the index, in other data sets than DATASETS or as older images of the same.
# 每个批次中来自起点模型旧训练图像的比例，防止遗忘；这些图像必须在索引中
# （属于 DATASETS 之外的数据集，或同一数据集中较早的图像）。
REPLAY_FRACTION = 0.0

# Name of the run's folder beside the time; None: the time alone.
# 运行文件夹名中加在时间之后的名称；None 表示只用时间。
RUN_NAME = None
