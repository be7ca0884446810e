"""Packaging of vit_jax: see README.md for how to install and use it.

Lower bounds are about a year back (November 2025), or later where a test fails
before it; the comment then says why. docs/testing.md says what has run at them.
CI runs both ends: .github/lower_bounds.py prints these versions as constraints,
and the newest releases run on Python 3.12 and 3.13.
"""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "vit_jax" / "__init__.py").read_text(),
    re.MULTILINE)[1]

REQUIREMENTS = [
    "absl-py>=2.3.1",  # flags and logging
    "array-record>=0.8.1",  # the files that prepared TFDS sets consist of
    "chex>=0.1.91",  # shapes, dtypes and trees checked at inner borders
    "etils[epath]>=1.13.0",  # working directories on gs:// and local disks
    "flax>=0.12.0",  # linen, the models
    "flatbuffers>=25.9.23",  # what jax.export writes and reads files with
    "fsspec>=2025.10.0",  # files and folders on servers and in buckets
    # The data loader. 0.2.14's iterators have no close(), which ends threads.
    "grain>=0.2.15",
    "jax>=0.8.0",
    "jaxtyping>=0.3.3",  # array shapes in signatures
    "matplotlib>=3.10.7",  # curves.png and the figures of `analyze`
    "ml-collections>=1.1.0",  # configs
    "ml-dtypes>=0.5.3",  # bfloat16 arrays in files
    "numpy>=2.2.6",
    # Resizing and augmentations; decodes only PNG of 16 bits a colour.
    "opencv-python-headless>=4.12.0.88",
    "optax>=0.2.6",  # optimisers
    "orbax-checkpoint>=0.11.28",  # checkpoints
    # Decodes all formats but JPEG, and of JPEG what simplejpeg refuses. 12.1
    # fails on compressed TIFF whose channels lie apart (RGBX).
    "pillow>=12.2.0",
    "scikit-learn>=1.7.2",  # the embedded digits
    "scipy>=1.16.3",  # the resize of position embeddings; Matlab's files
    "simplejpeg>=1.8.2",  # the fastest JPEG decoder
    # Prepared data sets, without TensorFlow. 4.9.9 reads no description of
    # one beside protobuf 7 (FieldDescriptor.label is gone).
    "tensorflow-datasets>=4.9.10",
    "tqdm>=4.67.1",  # the progress bar
]

EXTRAS = {
    # pip install -e '.[test]' && pytest
    "test": [
        "beartype>=0.22.5",  # checks array shapes while the tests run
        "ipykernel>=7.1.0",  # with nbclient, runs docs/tutorial.ipynb
        "nbclient>=0.10.2",
        "nbformat>=5.10.4",
        "pytest>=8.4.2",
        "pytest-xdist>=3.8.0",
        "safetensors>=0.7.0",  # checks our own writer
        "setuptools>=80.9.0",  # builds the wheel that test_packaging installs
    ],
    # What CI and pre-commit check besides. One release each, since the next one
    # finds other faults; apart from `test`, which anybody may run.
    # bandit looks for habits that attackers like.
    "dev": ["bandit==1.9.4", "mypy==2.4.1", "pre-commit>=4.4.0",
            "ruff==0.17.6"],
    # The networks of PyTorch that the weights are compared with. transformers 4
    # has other image processors; torch was not tried before this release.
    "oracle": [
        "safetensors>=0.7.0",
        "timm>=1.0.22",
        "torch>=2.13.0",
        "transformers>=5.23.0",
    ],
    # Names such as hf:facebook/dinov2-small.
    "hub": ["huggingface_hub>=1.31.0"],
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
    "tpu": ["jax[tpu]>=0.8.0", "etils[epath-gcs]>=1.13.0"],
    "gpu": ["jax[cuda12]>=0.8.0"],
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
        "vit_jax": ["py.typed", "**/*.csv", "**/*.json", "**/*.html",
                    "**/*.toml"]},
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
