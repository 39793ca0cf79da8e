"""What a command says when it needs the workshop (data, train, eval), which only a checkout holds."""

PACKAGES = ("data", "train", "eval")
NEEDS_CHECKOUT = (
    "llmpose: this command needs a checkout of the project: "
    "git clone the repository, then run: pip install -e '.[train]'"
)
