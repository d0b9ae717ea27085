//! House rules that no linter knows. They are tests, in `tests/tidy/`; run them with `make tidy`.
