"""How a model is judged (`srpu evaluate`).

评估设置。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# The model; None: the newest best model in MODEL_SAVE_DIR.
# 模型文件；None 表示最新的最佳模型。
CHECKPOINT_PATH = None

# Which images to judge on. Decide on "val"; open "test" once, at the end.
# 在哪些图像上评估。平时用 "val" 做决定；"test" 只在最后打开一次。
EVALUATION_SPLIT = "val"

# Score the masks in this folder (another tool's, another person's) instead of a model's.
# 评估该文件夹中的掩膜（其他软件或其他人做的），而不是模型的预测。
PREDICTIONS_DIR = None

# Where reports go.
# 报告文件夹。
EVALUATION_DIR = "evaluation_results"

# Tiles that are computed at once; more can be faster on a GPU.
# 同时计算的图块数；使用 GPU 时可适当增大。
BATCH_SIZE = 1

# Average over four mirror images; not where "up" means something (layers).
# 对四个镜像的预测取平均；上下方向有意义时（涂层）请勿使用。
FLIP_AVERAGING = False

# Boundary F1 counts a boundary pixel as found if the other mask's boundary lies within this many pixels.
# 边界 F1 的容差（像素）：另一掩膜的边界在此距离之内，就算找到。
BOUNDARY_TOLERANCE = 2.0

# Classes judged together against the rest as one more score ("foreground IoU"), e.g. [1, 2]; empty:
# none.
# 合并为一类、与其余部分对比评估的类别（“前景 IoU”），例如 [1, 2]；留空表示不计算。
FOREGROUND_CLASSES = []

# How many of the worst images the report shows first.
# 报告中优先展示的最差图像数。
WORST_CASES = 6
