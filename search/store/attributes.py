"""Names of the attributes that raretune keeps with studies and trials."""

DEFINITION = "raretune_definition"
FINGERPRINT = "raretune_fingerprint"

RECIPE, FIXED, FAILURE = "recipe", "fixed", "failure"
OWNER, LOST, RETRY_OF = "owner", "lost", "retry_of"
