//! Nothing: this package exists for its lock file and the sources that its dependencies vendor.
