"""How training crops are varied, so that the model does not learn accidents of a few images.

训练时的数据增强；`srpu stats --show-augmentations` 可以画出效果。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# Mirror left-right.
# 左右翻转。
FLIP = {
    "enabled": True,
    "p": 0.5,
}

# Mirror top-bottom. Turn off where "up" means something (layers on a substrate), together with ROTATE_90.
# 上下翻转；上下方向有意义时（如基底上的涂层）请与 ROTATE_90 一起关闭。
FLIP_VERTICAL = {
    "enabled": True,
    "p": 0.5,
}

# Turn by 90, 180 or 270 degrees. Turn off where "up" means something (layers on a substrate).
# 旋转 90、180 或 270 度；上下方向有意义时（如基底上的膜层）请关闭。
ROTATE_90 = {
    "enabled": True,
    "p": 0.75,
}

# Turn by any angle in degrees.
# 任意角度旋转（度）。
ROTATE = {
    "enabled": True,
    "p": 0.5,
    "range": [-45.0, 45.0],
}

# Enlarge by a factor.
# 缩放倍数。
SCALE = {
    "enabled": True,
    "p": 0.5,
    "range": [0.7, 1.4],
}

# Multiply the contrast, as the detector's gain does.
# 对比度（探测器增益）。
GAIN = {
    "enabled": True,
    "p": 0.5,
    "range": [0.7, 1.3],
}

# Add to the brightness, in units of the crop's standard deviation.
# 亮度偏移（以裁剪块的标准差为单位）。
OFFSET = {
    "enabled": True,
    "p": 0.5,
    "range": [-0.4, 0.4],
}

# Bend the tone curve by this exponent.
# 伽马校正指数。
GAMMA = {
    "enabled": True,
    "p": 0.5,
    "range": [0.7, 1.4],
}

# Defocus by a Gaussian of this many pixels.
# 高斯模糊（像素）。
BLUR = {
    "enabled": True,
    "p": 0.2,
    "range": [0.3, 1.5],
}

# Add noise of this many standard deviations of the crop.
# 噪声（以裁剪块的标准差为单位）。
NOISE = {
    "enabled": True,
    "p": 0.3,
    "range": [0.0, 0.2],
}
