"""Weights & Biases, used when LOGGER = "wandb".

LOGGER = "wandb" 时使用。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# Project that runs appear under.
# 运行记录所属的项目名称。
WANDB_PROJECT = "SRPU"

# Team or user; None: your default.
# 团队或用户名；None 表示您的默认值。
WANDB_ENTITY = None

# "offline" needs no account and no internet; upload later with `wandb sync`.
# "offline" 不需要账号和网络，之后可用 `wandb sync` 上传。
WANDB_MODE = "offline"

# Labels to find the run by.
# 便于查找运行的标签。
WANDB_TAGS = []
