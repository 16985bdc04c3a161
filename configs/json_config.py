"""Where the indices lie and what counts as the same picture twice.

索引文件与重复图像检查。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# Folder of the indices.
# 索引文件夹。
JSON_DIR = "json"

# Index of every labelled image.
# 全部已标注图像的索引。
MASTER_LABELED_JSON = "json/master_labeled_dataset.json"

# Index of every image without a mask.
# 全部未标注图像的索引。
MASTER_UNLABELED_JSON = "json/master_unlabeled_dataset.json"

# The split, decided once.
# 数据划分文件；划分只做一次。
SPLITS_JSON = "json/splits.json"

# Two images whose fine structure correlates above this, shifted, mirrored or turned as fits best, count as near
# duplicates. Different fields of one specimen stay below 0.5; neighbouring slices or the same field reach 0.75.
# 两幅图像细微结构的相关系数（取最佳的平移、镜像、旋转）高于此值时视为近似重复；
# 同一样品的不同视场低于 0.5，相邻切片或同一视场可达 0.75。
NEAR_DUPLICATE_CORRELATION = 0.6
