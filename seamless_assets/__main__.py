"""`python -m seamless_assets`: the same as `seamless`."""

from seamless_assets.cli.app import main

if __name__ == "__main__":
    main()
