"""From the archives that data sets are published as to files for training.

The result is what TFDS itself would write as array_record: the same names,
versions, splits, labels and order of the images, so that
`make_source("tfds:NAME")`, `tfds.data_source` and slices such as train[:98%]
mean the same. The process differs. TFDS's own builders collect the whole data
set before writing it; an interruption starts them over, and most need
TensorFlow. Here the archives are listed first, from their headers alone; this
determines the order, the files to write and the counts, which are checked
before anything is written. Each file ("shard") is then written independently
by one of several workers, and finished shards survive an interruption.

  archives   finds, lists and opens tar files
  contents   the images of a data set: where each one lies, its label
  counts     the official numbers of images and classes
  imagenet, cifar, mnist, imagenette, oxford, folders    one family each
  records    one image to one record
  shards     the order, the shards, workers, resumption
  metadata   the files that describe a data set to TFDS
  convert    sets that TFDS has prepared as TFRecord, copied
  stock      any other data set, with TensorFlow
  run        `prepare`, which calls the others
"""
