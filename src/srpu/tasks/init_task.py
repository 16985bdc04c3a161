"""``srpu init``: a new workspace."""

from __future__ import annotations

import logging
from pathlib import Path

from srpu.errors import WorkspaceError
from srpu.files import make_folder, write_text
from srpu.manual import write_configs
from srpu.settings import FILES
from srpu.workspace import Workspace

log = logging.getLogger(__name__)

OWN_STRATEGIES = "utils/uncertainty_util.py"
"""Where users write their own strategies of active learning."""

FOLDERS = ("data/raw", "data/labeled", "data/inference/input", "data/inference/output", "datasets")

README = """\
This folder is an SRPU workspace. Open a terminal here and type the commands in this order.
这是一个 SRPU 工作区。请在此文件夹中打开终端，按顺序运行下列命令。

1. Put your images into data/raw (sub-folders are fine) and your masks into data/labeled; a mask has the name of its
   image, or that name with _mask. Class names and colours are in configs/base.py.
   把图像放入 data/raw（可以有子文件夹），把掩膜放入 data/labeled；掩膜与图像同名，或加后缀 _mask。
   类别名称和颜色在 configs/base.py 中设置。

2. srpu index       finds images and masks, and decides what is trained on and what is judged on
                    查找并配对图像和掩膜，划分训练集和验证集
   srpu check       names files that do not fit
                    找出有问题的文件
   srpu train       trains a model; srpu train --resume continues after an interruption
                    训练模型；中断后用 srpu train --resume 继续
   srpu evaluate    judges it, with pictures, in evaluation_results
                    评估模型，报告在 evaluation_results 中

3. Put new images into data/inference/input.
   把新图像放入 data/inference/input。
   srpu predict     segments them into data/inference/output
                    预测，结果在 data/inference/output 中

srpu --help lists all commands, srpu config show all settings, srpu doctor looks for what is wrong.
srpu --help 列出全部命令，srpu config show 显示全部设置，srpu doctor 检查问题。
"""


def run(folder: Path) -> Workspace:
    """Make ``folder`` a workspace: config files, folders for data, a README.txt, examples of own strategies.

    What is there already is not changed.

    Raises:
        WorkspaceError: It is a workspace already, or cannot be written to.
    """
    workspace = Workspace(folder.resolve())
    there = [file for file in FILES if (workspace.configs / file).exists()]
    if there:
        raise WorkspaceError(
            f"{folder} is a workspace already ({folder / 'configs' / there[0]} exists); nothing was changed. "
            f"Go there and type `srpu config write` if config files are missing."
        )
    for name in FOLDERS:
        make_folder(workspace.path(name))
    write_configs(workspace.configs)
    readme = workspace.root / "README.txt"
    if not readme.exists():
        write_text(readme, README)
    own = workspace.path(OWN_STRATEGIES)
    if not own.exists():
        write_text(own, Path(__file__).with_name("uncertainty_util.py.txt").read_text(encoding="utf-8"))
    log.info("A workspace is ready in %s.", workspace.root)
    log.info("Next: put images into data/raw and masks into data/labeled there, then type `srpu index` in that folder.")
    log.info("README.txt there lists the commands. 说明见其中的 README.txt。")
    return workspace
