"""Sequential decisions: bandits and reinforcement learning.

Never imports `bo`; never prints, logs or touches the disk. `contract` and `catalog` are light.
"""
