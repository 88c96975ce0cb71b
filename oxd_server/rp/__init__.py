"""What is known of one relying party: its site as a client, its logins, its tokens, its protected resources."""
