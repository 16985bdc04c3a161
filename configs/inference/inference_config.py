"""How images are segmented (`srpu predict`).

预测设置。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# The model; None: the newest best model in MODEL_SAVE_DIR.
# 模型文件；None 表示最新的最佳模型。
CHECKPOINT_PATH = None

# Images to segment: a folder or one file.
# 待预测的图像文件夹或文件。
INPUT_DIR = "data/inference/input"

# Where the results go.
# 结果文件夹。
OUTPUT_DIR = "data/inference/output"

# Tiles that are computed at once; more can be faster on a GPU.
# 同时计算的图块数；使用 GPU 时可适当增大。
BATCH_SIZE = 1

# Average over four mirror images: a little better, four times slower; not where "up" means something (layers).
# 翻转平均：略好，但慢四倍；上下方向有意义时（涂层）请勿使用。
FLIP_AVERAGING = False

# Connected regions smaller than this are given to the class around them; 0: keep all.
# 小于该像素数的孤立区域并入周围类别；0 表示不处理。
MIN_SPECK_PIXELS = 0

# Holes smaller than this inside one class are filled; 0: keep all.
# 小于该像素数的孔洞被填充；0 表示不处理。
MIN_HOLE_PIXELS = 0

# File format of predicted masks; stacks are always TIFF.
# 预测掩膜的文件格式；堆栈总是 TIFF。
MASK_FORMAT = "png"

# Also write the mask in colours (RGB).
# 同时保存彩色掩膜。
SAVE_COLORED = True

# Also write the image with the mask laid over it.
# 同时保存叠加图。
SAVE_OVERLAY = True

# Also write the probability of each class, calibrated on the validation images, as a multi-page TIFF.
# 同时保存各类别的概率（多页 TIFF，已用验证图像校准）。
SAVE_PROBABILITIES = False

# Also write how unsure the model is, from 0 (black) to 1 (white).
# 同时保存不确定度图，0（黑）到 1（白）。
SAVE_UNCERTAINTY = False
