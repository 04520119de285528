"""Who is who: SPIFFE ids, certificates, the CA, tokens; and where a member has its own from."""
