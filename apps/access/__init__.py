"""Who may see and do what: users, their memberships in programs, their tokens, and the audit of what they changed."""
