"""How a model is trained (`srpu train`).

训练设置。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# Epochs at most; validation follows each.
# 最大训练轮数。
NUM_EPOCHS = 60

# Batches in an epoch; None: as many crops as cover the labelled area once, at least 50 batches.
# 每轮的批次数；None 表示自动。
STEPS_PER_EPOCH = None

# Crops in a batch; halve it when memory runs out.
# 批大小；内存不足时减半。
BATCH_SIZE = 8

# Step size of the optimiser at its highest.
# 最大学习率。
LEARNING_RATE = 0.001

# Pull of the weights towards zero.
# 权重衰减。
WEIGHT_DECAY = 0.01

# How weights are changed.
# 优化器。
OPTIMIZER = "AdamW"

# What is made small: cross-entropy, Dice, their sum, or focal loss.
# 损失函数。
LOSS_FUNCTION = "DiceCELoss"

# How much each class counts in the loss: None (by its pixels), "balanced" (rare classes count more), or one
# number per class.
# 各类别的损失权重。
CLASS_WEIGHTS = None

# Epochs over which the learning rate rises from zero, before it falls along a cosine.
# 学习率预热轮数。
WARMUP_EPOCHS = 1.0

# Longest gradient that is taken; 0: no limit.
# 梯度裁剪；0 表示不裁剪。
GRADIENT_CLIP = 1.0

# The model that is judged and kept is a running average of the weights with this decay per step; 0: the
# weights themselves.
# 权重滑动平均系数；0 表示不使用。
EMA_DECAY = 0.99

# Epochs without a better validation Dice after which training stops; 0: never.
# 验证 Dice 多少轮不提高就停止；0 表示不提前停止。
EARLY_STOPPING_PATIENCE = 15

# Training ends after this many minutes; the learning rate falls to zero by then.
# 训练最长时间（分钟）。
MAX_MINUTES = None

# Name of the run's folder beside the time; None: the time alone.
# 运行名称。
RUN_NAME = None
