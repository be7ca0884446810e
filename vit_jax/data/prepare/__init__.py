"""From the archives that data sets are published as to files for training.

What comes out is what TFDS itself would write as array_record: the same
names, versions, splits, labels and order of the pictures, so that
`make_source("tfds:NAME")`, `tfds.data_source` and slices such as train[:98%]
mean the same. What differs is the way there. TFDS's own builders gather the
whole data set and then write it; an interruption starts them over, and most
need TensorFlow. Here the archives are listed first, their headers alone; that
fixes the order, the files to write and the counts, which are checked before
anything is written. Each file ("shard") is then made by itself, by several
workers, and those that are finished survive an interruption.

  archives   finds, lists and opens tar files
  contents   what a data set consists of: where each picture lies, its label
  counts     how many there should be
  imagenet, cifar, imagenette, oxford, folders    one family each
  records    one picture to one record
  shards     the order, the shards, workers, resumption
  metadata   the files that describe a data set to TFDS
  convert    sets that TFDS has prepared as TFRecord, copied
  stock      any other data set, with TensorFlow
  run        all of it: `prepare`
"""
