"""Own ways to tell how unsure a model is, for `srpu active`.

供 `srpu active` 使用的自定义不确定度。

A function here is switched on by a line with its name in configs/active_learning/active_learning_config.py:
在 configs/active_learning/active_learning_config.py 中加一行函数名，即可启用此文件中的函数：

    UNCERTAINTY_STRATEGIES = {
        …
        "one_class": {"enabled": True, "weight": 1.0},
    }

It gets `probabilities`, a torch tensor of shape (b, c, h, w): b images, c classes (in the order of CLASS_NAMES),
h x w pixels, each from 0 to 1, together 1 in each pixel. It gives a tensor of shape (b, h, w): how unsure the model is
about each pixel, from 0 (sure) to 1. An image's score is the mean of its pixels. Large images come in strips of up to
TILE_SIZE rows. A name that begins with _ is no strategy. What is wrong with an answer (shape, range, an error) is said
in one sentence when it is used.
函数得到 `probabilities`，形状为 (b, c, h, w) 的 torch 张量：b 幅图像、c 个类别（顺序同 CLASS_NAMES）、h x w 个像素；
每个值在 0 到 1 之间，同一像素各类别之和为 1。返回形状为 (b, h, w) 的张量：每个像素的不确定度，0（确定）到 1。
图像的得分是其像素的平均值。大图像按条带传入，每条最多 TILE_SIZE 行。以 _ 开头的函数不是度量。
返回值有误（形状、范围、出错）时，使用时会用一句话说明。
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CLASS = 1
"""The class that `one_class` looks at: its number in CLASS_NAMES. `one_class` 关注的类别编号。"""

EDGE = 7
"""How wide `grain_boundaries` takes a boundary to be, in pixels; an odd number. 边界宽度（像素），取奇数。"""


def one_class(probabilities: Tensor) -> Tensor:
    """How torn the model is about one class: 1 where its probability is one half, 0 where it is 0 or 1.

    Good where one class matters more than the others. 适合某一类别比其他类别更重要的情况。
    """
    share = probabilities[:, CLASS]
    return (4 * share * (1 - share)).clamp(0, 1)  # clamp: rounding may leave 0 to 1 by a hair 舍入误差可能略微超出范围


def grain_boundaries(probabilities: Tensor) -> Tensor:
    """How close the second class comes to the first, counted only where two predicted classes meet.

    Good where the inside of grains is easy and their edges are not. 适合晶粒内部容易、边缘困难的情况。
    """
    first, second = torch.topk(probabilities, 2, dim=1).values.unbind(dim=1)
    predicted = probabilities.argmax(dim=1, keepdim=True).float()
    highest = F.max_pool2d(predicted, EDGE, stride=1, padding=EDGE // 2)
    lowest = -F.max_pool2d(-predicted, EDGE, stride=1, padding=EDGE // 2)
    near = (highest != lowest)[:, 0]  # another class lies within EDGE // 2 pixels 附近有其他类别
    return ((1 - first + second) * near).clamp(0, 1)
