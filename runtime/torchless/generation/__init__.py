"""Token after token: what comes next is chosen, and what is chosen is continued."""
