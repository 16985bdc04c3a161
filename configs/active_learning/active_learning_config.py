"""Rounds of active learning (`srpu active`): train, ask for the masks that help most, take them in.

主动学习设置：训练、挑选最值得标注的图像、收回修改好的掩膜，如此循环。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# Labelled training images that should be there before the first round. With fewer, the first round says so and
# goes on, or with COLD_START asks for the missing ones.
# 第一轮之前应有的已标注训练图像数；不足时第一轮会提示并继续，若 COLD_START = True 则先请求标注缺少的图像。
INITIAL_LABELED_SIZE = 50

# How many images, or regions, a round asks for.
# 每轮请求标注的图像（或区域）数。
BATCH_SIZE_TO_LABEL = 20

# Rounds at most.
# 最多进行的轮数。
MAX_ACTIVE_LEARNING_ROUNDS = 10

# The rounds end when even the upper end of the gain in mean Dice over the last PATIENCE rounds lies below this;
# never with fewer than 5 validation groups.
# 最近 PATIENCE 轮平均 Dice 提升的区间上限仍低于该值时停止；验证组少于 5 个时不据此停止。
MIN_IMPROVEMENT_THRESHOLD = 0.01

# Over how many rounds the gain is looked at.
# 考察提升幅度所用的轮数。
PATIENCE = 5

# The rounds end when so many answers were taken in; None: no limit.
# 收到这么多个标注后停止；None 表示不限。
LABEL_BUDGET = None

# The rounds end when the mean Dice on the validation images reaches this; None: no target.
# 验证平均 Dice 达到该值后停止；None 表示不设目标。
TARGET_SCORE = None

# With fewer than INITIAL_LABELED_SIZE labelled images, ask for the missing ones first: typical and different
# images, which needs no trained model.
# 已标注图像少于 INITIAL_LABELED_SIZE 时，先请求标注缺少的图像：选择典型且互不相同的图像，不需要训练好的模型。
COLD_START = False

# With COLD_START and without validation images: how many are drawn at random, to be labelled for validation.
# COLD_START = True 且没有验证图像时，随机抽取多少幅图像标注后用于验证。
VALIDATION_SIZE = 5

# What is asked for: whole images, or windows of REGION_SIZE in them. The rest of an image stays "not labelled".
# 请求标注的单位：整幅图像（"image"），或图像中边长为 REGION_SIZE 的窗口（"region"）；窗口之外保持"未标注"。
QUERY = "image"

# Edge of a window in pixels.
# 窗口的边长（像素）。
REGION_SIZE = 256

# Edge of a window in nanometres, for images whose pixel size is known; None: REGION_SIZE.
# 窗口的边长（纳米），用于已知像素尺寸的图像；None 表示使用 REGION_SIZE。
REGION_SIZE_NM = None

# Pixels around a window that are shown with it, and not labelled.
# 窗口四周一并显示、但不标注的像素数。
REGION_CONTEXT = 64

# How unsure the model is about an image, each way with its weight; all together they count 1 in the mix. A
# function in utils/uncertainty_util.py is switched on by its name here.
# 模型对图像的不确定程度的各种度量及其权重，合计在综合得分中占 1；
# utils/uncertainty_util.py 中的自定义函数也按名称写在这里。
UNCERTAINTY_STRATEGIES = {
    "entropy": {"enabled": True, "weight": 1.0, "description": "Entropy of the class probabilities 类别概率的熵"},
    "confidence": {"enabled": True, "weight": 1.0, "description": "The best class is not probable 最可能类别的概率低"},
    "margin": {"enabled": True, "weight": 1.0, "description": "How close the second class comes 前两类概率接近"},
    "boundary": {"enabled": False, "weight": 1.0, "description": "Entropy near predicted boundaries 预测边界附近的熵"},
    "ensemble": {"enabled": False, "weight": 1.0, "description": "How much several models disagree 多个模型的分歧"},
}

# How different the chosen images are from the labelled ones and from each other, each way with its weight beside
# the 1 of uncertainty.
# 所选图像彼此之间、与已标注图像之间的差异的度量及其权重（不确定程度合计为 1）。
DIVERSITY_STRATEGIES = {
    "core_set": {"enabled": True, "weight": 0.5, "description": "Far from all that is labelled 远离已标注的图像"},
    "cluster_based": {"enabled": True, "weight": 0.3, "description": "Typical of many images 能代表许多图像"},
}

# Prefer images on which the model finds rare classes; it counts 0.5 in the mix.
# 优先选择模型预测含有稀少类别的图像；在综合得分中占 0.5。
BALANCE_CLASSES = True

# How much chance the first rounds have in the choice; it fades until the last round. 0: none.
# 前几轮选择中的随机程度，到最后一轮逐渐减为零；0 表示没有随机性。
EXPLORATION = 1.0

# For "ensemble": train so many models in each round; None: the models of the last three promoted rounds, mirrored.
# 用于 "ensemble"：每轮训练这么多个模型；None 表示使用最近三个被采用轮次的模型及其镜像预测。
ENSEMBLE_SIZE = None

# A new model is not taken if a class surely loses more Dice than this on the validation images.
# 若某一类别的验证 Dice 确实下降超过该值，新模型不被采用。
MAX_CLASS_LOSS = 0.01

# How each round trains; "warm_start": True goes on from the last promoted model.
# 每轮的训练设置；"warm_start": True 表示从上一个被采用的模型继续训练。
TRAINING_CONFIG = {
    "num_epochs_per_round": 100,
    "steps_per_epoch": None,
    "batch_size": 8,
    "learning_rate": 0.0001,
    "weight_decay": 1e-05,
    "optimizer": "AdamW",
    "loss_function": "DiceCELoss",
    "class_weights": None,
    "warmup_epochs": 1.0,
    "gradient_clip": 1.0,
    "ema_decay": 0.99,
    "early_stopping_patience": 15,
    "max_minutes": None,
    "encoder_lr_factor": 1.0,
    "freeze_encoder": False,
    "unfreeze_epoch": None,
    "warm_start": False,
}

# The predicted masks of the images that are asked for.
# 请求标注的图像的预测掩膜。
PREDICTION_MASK_CONFIG = {
    "generate_prediction_masks": True,
    "save_colored_masks": True,
    "output_dir": "active_learning_predictions",
}

# Start rounds from the model in PRETRAINED_MODEL_PATH; with "warm_start" only the first.
# 各轮从 PRETRAINED_MODEL_PATH 的模型开始训练；"warm_start" 为 True 时只有第一轮如此。
USE_PRETRAINED_MODEL = False

# A whole trained model to start from; None: none.
# 作为起点的完整模型；None 表示不使用。
PRETRAINED_MODEL_PATH = None

# An encoder to start from, e.g. "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"; None: none.
# 作为起点的编码器，例如 "models/checkpoints/ssl_pretrained_resnet18/best_ssl_encoder.pth"；None 表示不使用。
PRETRAINED_ENCODER_PATH = None

# Corrected masks are looked for here, in the round's own folder to copy, and in LABELED_DIR.
# 在此文件夹、每轮的待标注文件夹以及 LABELED_DIR 中查找修改好的掩膜。
CORRECTED_DIR = "active_learning/corrected"

# How often `srpu active run` looks for corrected masks while it waits.
# `srpu active run` 等待时检查一次修改好的掩膜的间隔（秒）。
POLL_SECONDS = 10.0

# Who corrects the masks, for the record; None: your login name.
# 标注者姓名（记录用）；None 表示登录用户名。
ANNOTATOR = None

# Tiles that are computed at once while the pool is looked through; more can be faster on a GPU.
# 给图像池打分时同时计算的图块数；使用 GPU 时可适当增大。
SCORING_BATCH_SIZE = 1

# One image per round, in many short rounds: remove the # of these lines.
# 每轮只标注一幅图像、进行多轮短训练：去掉下面各行的 #。
# NUM_ITERATIONS = 20
# SAMPLES_PER_ITER = 1
# NUM_EPOCHS_PER_ITER = 10
