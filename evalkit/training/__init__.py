"""The parts of a training loop, one concept a file; ``trainers/qlora/train.py`` puts them together.

Import from the modules: ``job`` (what a trainer is given), ``prepare`` (rows → ids and masks), ``batches``,
``loss``, ``adapters``, ``checkpoints`` … Nothing is imported here, because they need torch.
"""
