"""Package metadata; tool configuration is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"$',
    (HERE / "asciid" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)
if VERSION is None:
    message = "asciid/__init__.py does not state __version__"
    raise SystemExit(message)

CLIENT = ["rich>=13.7", "twisted[tls]>=24.11"]
PNG = ["pillow>=11"]
POSTGRESQL = ["psycopg[binary]>=3.2"]
SIMULATE = ["pyfiglet>=1.0.2", "rich>=13.7"]

setup(
    name="asciid",
    version=VERSION.group(1),
    description="An HTTP service that hosts ASCII art, as a Twisted daemon",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["asciid", "asciid.*"]), "twisted.plugins"],
    package_data={
        "asciid": [
            "py.typed",
            "api/openapi.json",
            "web/static/*",
            "web/templates/*",
        ]
    },
    install_requires=[
        "attrs>=23.2",
        "click>=8.1.7",
        "httptools>=0.6.4",
        "jinja2>=3.1.4",
        "klein>=24.8",
        "lmdb>=1.6",
        "markupsafe>=3",
        "msgspec>=0.19",
        "multipart>=1.2",
        "prometheus-client>=0.20",
        "treq>=24.9",
        "twisted>=24.11",
        "wcwidth>=0.9",
        "zope.interface>=7",
        "zstandard>=0.23",
    ],
    extras_require={
        "client": CLIENT,
        "png": PNG,
        "postgresql": POSTGRESQL,
        "simulate": SIMULATE,
        "tls": ["twisted[tls]>=24.11"],
        "dev": [
            *PNG,
            *POSTGRESQL,
            *SIMULATE,
            "twisted[tls]>=24.11",
            "coverage>=7.6",
            "hypothesis>=6.115",
            "jsonschema>=4.23",
            "mypy>=1.13",
            "mypy-zope>=1.0.9",
            "openapi-spec-validator>=0.7.1",
            "pyte>=0.8.2",
            "PyYAML>=6.0.2",
            # All rules are on, and each minor version brings new ones.
            "ruff~=0.17.6",
            "schemathesis>=4.1",
            "towncrier>=24.8",
        ],
    },
    entry_points={"console_scripts": ["asciid = asciid.__main__:main"]},
    classifiers=[
        "Framework :: Twisted",
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    zip_safe=False,
)
