"""Which videos of many a sentence is worth asking of, before the network answers in those.

`spaces` turns clips and sentences into vectors whose product tells how well they match; `index` says what an index of
them can do. `memory_index` compares a sentence with every clip; `lance_index` keeps the vectors on disk, for more
videos than fit into memory, in an `index_folder`. `shortlist` says how many videos are worth an answer.
"""
