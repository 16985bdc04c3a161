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

# Name of the run's folder beside the time; None: the time alone.
# 运行文件夹名中加在时间之后的名称；None 表示只用时间。
RUN_NAME = None
