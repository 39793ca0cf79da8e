"""`python -m llmpose` is the `llmpose` command, for where its script is not on the path."""

from llmpose.cli import main

if __name__ == "__main__":
    main()
