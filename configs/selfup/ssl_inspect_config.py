"""How a pretrained encoder is looked at (`srpu inspect`).

查看预训练效果的设置。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# The pretrained network, a best_ssl_model.pth; None: that of the last `srpu pretrain` that finished.
# 预训练网络文件（best_ssl_model.pth）；None 表示最近一次完成的 `srpu pretrain` 的结果。
SSL_MODEL_PATH = None

# Where reports go.
# 报告文件夹。
INSPECT_DIR = "ssl_inspection"

# How many images the report shows.
# 报告中展示的图像数。
INSPECT_IMAGES = 6

# Labelled pixels that the probes are fitted on, and as many that they are judged on.
# 探针使用的标注像素数：拟合和评估各用这么多。
PROBE_PIXELS = 10000

# How many nearest neighbours vote on a pixel's class.
# 近邻探针中参与投票的邻居数。
NEIGHBOURS = 20
