"""How an encoder learns from images without masks (`srpu pretrain`).

自监督预训练设置：编码器从没有掩膜的图像中学习。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# What the network has to do:
# "mae": say what was in hidden patches of the image;
# "autoencoder": restore an image that was blurred, made coarse and noisy, with patches dropped.
# 网络的学习任务：
# "mae"：补出图像中被遮住的小块；
# "autoencoder"：复原被模糊、降低分辨率、加噪声并丢掉部分小块的图像。
METHOD = "mae"

# METHOD = "mae": the share of the patches that is hidden.
# METHOD = "mae" 时被遮住的小块所占的比例。
MASK_RATIO = 0.6

# Edge in pixels of the patches that are hidden or dropped, about as large as the structures; vision transformers
# hide their own patches, of 16 pixels.
# 被遮住或丢掉的小块的边长（像素），宜与图像中结构的大小相近；视觉 Transformer 使用自己的 16 像素小块。
PATCH_SIZE = 16

# METHOD = "autoencoder": blur by a Gaussian of this many pixels.
# METHOD = "autoencoder" 时的高斯模糊（像素）。
DEGRADE_BLUR = {
    "enabled": True,
    "p": 0.5,
    "range": [0.5, 2.0],
}

# METHOD = "autoencoder": make this many times coarser (a whole number is taken).
# METHOD = "autoencoder" 时降低分辨率的倍数（取整数）。
DEGRADE_SHRINK = {
    "enabled": True,
    "p": 0.3,
    "range": [2.0, 4.0],
}

# METHOD = "autoencoder": add noise of this many standard deviations of the crop.
# METHOD = "autoencoder" 时的噪声（以裁剪块的标准差为单位）。
DEGRADE_NOISE = {
    "enabled": True,
    "p": 0.8,
    "range": [0.1, 0.6],
}

# METHOD = "autoencoder": the share of the patches that is dropped.
# METHOD = "autoencoder" 时丢掉的小块所占的比例。
DROP_PATCHES = {
    "enabled": True,
    "p": 0.8,
    "range": [0.1, 0.5],
}

# Learn from the labelled training images too (not from their masks). Validation and test images never take part.
# 同时使用已标注的训练图像（不使用掩膜）；验证集和测试集图像从不参与。
USE_LABELED_TRAINING_IMAGES = True

# The share of the images, whole groups and at least one, that is not learned from: the best epoch is the one that
# restores them best.
# 留出不参与学习的图像比例（按组，至少一幅）：复原它们最好的一轮即为最佳轮。
HELD_OUT_SHARE = 0.05

# Epochs at most.
# 最大训练轮数。
NUM_EPOCHS = 100

# Batches in an epoch; None: as many crops as cover all images once, but 50 to 500 batches.
# 每轮的批次数；None 表示裁剪块恰好覆盖全部图像一遍，但限于 50 到 500 个批次。
STEPS_PER_EPOCH = None

# Crops in a batch; halve it when memory runs out.
# 每个批次的裁剪块数；内存不足时减半。
BATCH_SIZE = 16

# Step size of the optimiser (AdamW) at its highest.
# 学习率的最大值（优化器为 AdamW）。
LEARNING_RATE = 0.001

# Pull of the weights towards zero.
# 权重衰减，把权重拉向零的强度。
WEIGHT_DECAY = 0.05

# Epochs over which the learning rate rises from zero, before it falls along a cosine.
# 学习率从零升到最大值所用的轮数，此后按余弦下降。
WARMUP_EPOCHS = 2.0

# Longest gradient that is taken; 0: no limit.
# 梯度裁剪的上限；0 表示不裁剪。
GRADIENT_CLIP = 1.0

# The network that is judged and kept is a running average of the weights with this decay per step; 0: the
# weights themselves.
# 评估和保存的网络是权重的滑动平均，此为每步的衰减系数；0 表示直接用权重本身。
EMA_DECAY = 0.99

# Epochs without a better restoration of the held-out images after which training stops; 0: never.
# 留出图像的复原效果多少轮不提高就停止；0 表示不提前停止。
EARLY_STOPPING_PATIENCE = 0

# Training ends after this many minutes; the learning rate falls to zero by then.
# 训练最长时间（分钟）；学习率会在此之前降到零。
MAX_MINUTES = None

# Name of the run's folder beside the time; None: the time alone.
# 运行文件夹名中加在时间之后的名称；None 表示只用时间。
RUN_NAME = None
