"""Packaging of vit_jax: see README.md for how to install and use it.

The lower bounds are the versions that the tests ran at on Python 3.11, for
which jax 0.10.2 is the last. What ran on the newest releases, on Python 3.13,
stands in README.md, "What was tested on what".
"""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "vit_jax" / "__init__.py").read_text(),
    re.MULTILINE)[1]

REQUIREMENTS = [
    "absl-py>=2.5.1",  # flags and logging
    "array-record>=0.8.6",  # the files that prepared TFDS sets consist of
    "chex>=0.1.92",  # shapes, dtypes and trees checked at inner borders
    "etils[epath]>=1.15.0",  # working directories on gs:// and local disks
    "flax>=0.12.8",  # linen, the models
    "flatbuffers>=25.12.19",  # what jax.export writes and reads files with
    "fsspec>=2026.9.0",  # what etils reads remote folders with
    "grain>=0.2.18",  # the data loader
    "jax>=0.10.2",
    "jaxtyping>=0.3.11",  # array shapes in signatures
    "matplotlib>=3.11.2",  # curves.png and the figures of `analyze`
    "ml-collections>=1.1.0",  # configs
    "ml-dtypes>=0.6.0",  # bfloat16 arrays in files
    "numpy>=2.4.6",
    "opencv-python-headless>=5.0.0.93",  # resizing; decodes all but JPEG
    "optax>=0.2.8",  # optimisers
    "orbax-checkpoint>=0.12.8",  # checkpoints
    "pillow>=13.0.0",  # pictures that OpenCV reads wrongly: CMYK, animations
    "scikit-learn>=1.9.1",  # the embedded digits
    "scipy>=1.17.1",  # the resize of position embeddings
    "simplejpeg>=1.9.0",  # the fastest JPEG decoder
    "tensorboardX>=2.6.5",  # TensorBoard files without TensorFlow
    "tensorflow-datasets>=4.9.10",  # prepared data sets, without TensorFlow
    "tqdm>=4.70.1",  # the progress bar
]

EXTRAS = {
    # pip install -e '.[test]' && pytest
    "test": [
        "ipykernel>=7.4.0",  # with nbclient, runs docs/tutorial.ipynb
        "nbclient>=0.11.0",
        "nbformat>=5.11.1",
        "pytest>=9.2.0",
        "pytest-xdist>=3.8.0",
        "ruff>=0.17.5",
        "safetensors>=0.8.0",  # checks our own writer
        "setuptools>=84.2.1",  # builds the wheel that test_packaging installs
    ],
    # The networks of PyTorch that the weights are compared with.
    "oracle": [
        "safetensors>=0.8.0",
        "timm>=1.0.31",
        "torch>=2.13.0",
        "transformers>=5.23.0",
    ],
    # sphinx-build -W -n docs docs/_build
    "docs": [
        "furo>=2025.9.25",
        "myst-nb>=1.3.0",
        "sphinx>=8.2.3",
        "sphinx-copybutton>=0.5.2",
    ],
    # Turns TFDS's stock data sets into array_record files, once.
    "prepare": ["tensorflow>=2.21.0"],
    # Working directories of TPU jobs lie in buckets: gcsfs reads and writes.
    "tpu": ["jax[tpu]>=0.10.2", "etils[epath-gcs]>=1.15.0"],
    "gpu": ["jax[cuda12]>=0.10.2"],
}

setuptools.setup(
    name="vit_jax",
    version=VERSION,
    description="Vision Transformers in JAX: pre-train, fine-tune, evaluate "
                "and use them, with the released weights",
    long_description=(HERE / "README.md").read_text(encoding="utf-8")
    if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*setuptools.find_packages(include=["vit_jax", "vit_jax.*"]),
              "vit_jax.configs"],
    # The recipes travel with the package: --config=configs/vit.py:b16,cifar10
    # finds them from any folder.
    package_dir={"vit_jax.configs": "configs"},
    package_data={
        "vit_jax": ["**/*.csv", "**/*.json", "**/*.html", "**/*.toml"]},
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["vit_jax = vit_jax.__main__:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
