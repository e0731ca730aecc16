"""What pyproject.toml can't say: the app and the scripts, which lie beside xmr/ in a checkout, lie in it once installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["xmr", "xmr.*"]), "xmr.programs", "xmr.programs.scripts"],
    package_dir={"xmr.programs": ".", "xmr.programs.scripts": "scripts"},
)
