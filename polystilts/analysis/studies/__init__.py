"""The statistics of the studies: pure functions from cells of predictions to results with intervals.

common         cells, arms, contrasts of arms over rows and seeds, floors, what a result holds
lines          weighted lines through languages, with families as clusters
scale          does the gain from intermediate training change with the size of the encoder?
paws           single intermediate tasks against pairs and all of them: accuracy and robustness
low_resource   the gain against how much text of a language the encoder has read
typo           intermediate tasks against multilingual fine-tuning under typographical noise
code           intermediate tasks about code against tasks in natural language
retrieval      how much of a gain in retrieval is layer, common direction, scale of axes, or alignment
"""
