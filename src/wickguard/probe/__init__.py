"""The probe: finds out what an endpoint can be made to spend. The engine yields events; console, reports and files listen."""
