"""The training loop: epochs, validation, who stays, where an interrupted run goes on."""
